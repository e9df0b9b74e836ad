//! The running error analysis of `selective_scan`, over [`Approx`].

use super::SelectiveScan;
use crate::harness::arrays::Matrix;
use crate::harness::error_analysis::Approx;

/// The formulas of the contract, with `exp` as `exp2(delta · (a · log2 e))`: the constant is rounded, and so are both
/// products, so that the error of the exponent grows with its size.
pub fn selective_scan(case: &SelectiveScan) -> Vec<Vec<Approx>> {
    selective_scan_in_chunks(case, usize::MAX)
}

/// [`selective_scan`] of each sequence in chunks of `length` tokens. All but the first and the last are first scanned
/// from zeros, for the state that the next one starts from: `fma(exp2(Σ delta · (a · log2 e)), before, from zeros)`.
pub fn selective_scan_in_chunks(case: &SelectiveScan, length: usize) -> Vec<Vec<Approx>> {
    let (channels, d_state) = (case.u.cols, case.a.rows);
    let mut output = vec![Approx::ZERO; case.u.rows * channels];
    let pool = case.state.as_ref().map(|state| &state.values);
    let mut state: Option<Vec<Approx>> =
        pool.map(|values| values.iter().map(|&value| Approx::exact(value)).collect());
    for (rows, slot) in case.sequences.iter() {
        let Some(slot) = slot.index() else { continue };
        let zeros = vec![Approx::ZERO; d_state * channels];
        let mut none = zeros.clone();
        let h = match &mut state {
            Some(state) => &mut state[slot * d_state * channels..][..d_state * channels],
            None => &mut none[..],
        };
        for start in rows.clone().step_by(length) {
            let chunk = start..rows.end.min(start.saturating_add(length));
            let before = h.to_vec();
            scan_rows(case, chunk.clone(), h, &mut output);
            if start > rows.start && chunk.end < rows.end {
                let mut local = zeros.clone();
                let sums = scan_rows(case, chunk, &mut local, &mut vec![Approx::ZERO; output.len()]);
                for (i, (h, before)) in h.iter_mut().zip(before).enumerate() {
                    let exponent = sums[i % channels].mul(rate(case, i / channels, i % channels));
                    *h = carried(exponent, before, local[i]);
                }
            }
        }
    }
    [output].into_iter().chain(state).collect()
}

/// The state after a chunk, from that before it: `2^exponent · before + end`, with a power that would overflow as three
/// factors.
fn carried(exponent: Approx, before: Approx, end: Approx) -> Approx {
    const LARGEST: f32 = f32::from_bits(0x42ff_ffff); // the largest number below 128
    if exponent.computed > LARGEST {
        let second = exponent.computed - LARGEST;
        let third = (second - LARGEST).max(0.0);
        let [first, second, third] = [LARGEST, second.min(LARGEST), third.min(LARGEST)];
        let power = |x| Approx::exact(x).exp2();
        return power(first).fma(before.mul(power(second)).mul(power(third)), end);
    }
    exponent.exp2().fma(before, end)
}

/// `a · log2 e`
fn rate(case: &SelectiveScan, n: usize, channel: usize) -> Approx {
    let rounded = f64::from(std::f32::consts::LOG2_E);
    let log2_e = Approx {
        value: std::f64::consts::LOG2_E,
        error: (rounded - std::f64::consts::LOG2_E).abs(),
        computed: std::f32::consts::LOG2_E,
    };
    Approx::exact(case.a.at(n, channel)).mul(log2_e)
}

/// Some rows of a sequence, token by token from the states `h` on. Gives the sum of delta per channel.
fn scan_rows(
    case: &SelectiveScan,
    rows: std::ops::Range<usize>,
    h: &mut [Approx],
    output: &mut [Approx],
) -> Vec<Approx> {
    let (channels, d_state) = (case.u.cols, case.a.rows);
    let vector = |vector: &Option<Matrix>, i: usize| vector.as_ref().map(|v| Approx::exact(v.values[i]));
    let mut delta_sums = vec![Approx::ZERO; channels];
    for t in rows {
        for i in 0..channels {
            let group = i / (channels / case.n_groups) * d_state;
            let u = Approx::input(case.u.at(t, i));
            let mut delta = Approx::exact(case.delta.at(t, i));
            if let Some(bias) = vector(&case.delta_bias, i) {
                delta = delta.add(bias);
            }
            if case.delta_softplus {
                delta = delta.softplus();
            }
            delta_sums[i] = delta_sums[i].add(delta);
            let delta_u = delta.mul(u);
            let quiet = delta_u.computed.abs() < 2f32.powi(-100);
            let delta_u = delta_u.quiet(quiet);
            let mut sums = [Approx::ZERO; 4];
            for n in 0..d_state {
                let b = Approx::input(case.b.at(t, group + n));
                let c = Approx::input(case.c.at(t, group + n));
                let decay = delta.mul(rate(case, n, i)).exp2();
                let h = &mut h[n * channels + i];
                *h = decay.fma(*h, delta_u.mul(b)).quiet(quiet);
                sums[n % 4] = c.fma(*h, sums[n % 4]);
            }
            let mut y = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            if let Some(d) = vector(&case.d, i) {
                y = u.fma(d, y);
            }
            if let Some(z) = &case.z {
                y = y.mul(Approx::exact(z.at(t, i)).silu());
            }
            output[t * channels + i] = y;
        }
    }
    delta_sums
}
