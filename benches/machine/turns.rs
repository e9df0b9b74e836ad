//! A ceiling and a kernel measured alike: windows of one length in turns, medians and spread.

use super::seconds_on;
use std::time::Instant;

/// The 10th, the 50th and the 90th percentile.
#[derive(Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let percentile = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, part) = (place as usize, place.fract());
            let above = (below + 1).min(values.len() - 1);
            values[below] * (1.0 - part) + values[above] * part
        };
        Self { low: percentile(0.1), median: percentile(0.5), high: percentile(0.9) }
    }
}

/// A loop that uses one resource, and little else, on some threads.
pub struct Loop<'a> {
    threads: usize,
    /// What a call on every thread takes of the resource.
    amount: f64,
    work: Box<dyn Fn(usize) + Sync + 'a>,
    /// Of a call, as last measured.
    seconds: f64,
}

impl<'a> Loop<'a> {
    /// `amount` is what a call of `work` takes on one thread. Calls it to learn how long that is.
    pub fn new(threads: usize, amount: f64, work: impl Fn(usize) + Sync + 'a) -> Self {
        let seconds = seconds_on(threads, 1, &work);
        Self { threads, amount: amount * threads as f64, work: Box::new(work), seconds }
    }

    /// Units per second over a window of about so many seconds.
    pub fn window(&mut self, seconds: f64) -> f64 {
        self.seconds = seconds_on(self.threads, repeats(seconds, self.seconds), &self.work);
        self.amount / self.seconds
    }
}

/// How often something that takes `once` fits a window.
fn repeats(window: f64, once: f64) -> usize {
    (window / once.max(1e-9)).round().clamp(1.0, 1e6) as usize
}

/// How long windows are, and how many.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Seconds of a window. A kernel that takes longer for one run has windows of one run, and so has its ceiling.
    pub window: f64,
    /// Seconds of all windows of a kernel and its ceiling, if that gives `rounds` in these bounds.
    pub total: f64,
    pub rounds: [usize; 2],
}

/// What was measured in turns.
pub struct Turns {
    /// Units per second of the kernel.
    pub kernel: Spread,
    /// Units per second of the ceiling.
    pub ceiling: Spread,
    /// Of the kernel in the ceiling of the same round.
    pub share: Spread,
    pub rounds: usize,
}

/// Rounds of a window of the ceiling and a window of the kernel, whose run takes `amount` of the resource.
pub fn turns(ceiling: &mut Loop, kernel: &mut dyn FnMut(), amount: f64, plan: Plan) -> Turns {
    let mut timed = |times: usize| {
        let start = Instant::now();
        (0..times).for_each(|_| kernel());
        start.elapsed().as_secs_f64() / times as f64
    };
    let mut once = timed(1).min(timed(1));
    let window = plan.window.max(once);
    let rounds = ((plan.total / (2.0 * window)) as usize).clamp(plan.rounds[0], plan.rounds[1]);
    let (mut kernels, mut ceilings, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let limit = ceiling.window(window);
        // untimed, as a call of the ceiling's loop: it finds its data where the ceiling left them
        if once < window / 4.0 {
            timed(1);
        }
        once = timed(repeats(window, once));
        let rate = amount / once;
        kernels.push(rate);
        ceilings.push(limit);
        shares.push(rate / limit);
    }
    Turns { kernel: Spread::of(kernels), ceiling: Spread::of(ceilings), share: Spread::of(shares), rounds }
}
