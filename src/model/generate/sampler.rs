//! [`Sampler`]: the next token from a row of logits.
//!
//! 1. The repetition penalty `r` changes the logit `l` of every token seen so far: `l / r` where `l > 0`, else `l * r`.
//! 2. Temperature 0 takes the highest logit and ends here.
//! 3. Tokens are ordered by logit, the highest first, equal logits by id. Top-k keeps the first k.
//! 4. Each has the weight `exp((l - l_max) / temperature)`. Top-p keeps the shortest beginning of the order whose
//!    weights make up at least the share p of all, which are summed by id.
//! 5. One draw `x` in [0, 1) takes the first token at which the running sum of weights exceeds `x` times the sum of
//!    those kept; the last one if rounding leaves none.
//!
//! Only the beginning of the order that steps 4 and 5 need is sorted.
//!
//! All of it is additions, multiplications and divisions of f64 in a fixed order, the exponential included, so equal
//! logits and an equal seed give equal tokens on every machine.
#![forbid(unsafe_code)]

use crate::arrays::FloatMode;
use crate::model::error::ModelError;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// How tokens are chosen. The default is the model's own distribution: temperature 1, nothing cut off, seed 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits. At 0 the most probable token is taken and the seed has no effect.
    pub temperature: f64,
    /// How many of the most probable tokens may be drawn. 0 is no limit.
    pub top_k: usize,
    /// The most probable tokens that together have at least this probability may be drawn; more than 0, at most 1.
    pub top_p: f64,
    /// Above 1 it makes tokens that were seen less probable. 1 is no penalty.
    pub repetition_penalty: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}

/// Chooses tokens as [`Sampling`] says.
///
/// The random numbers are PCG64's (XSL RR 128/64), seeded by `rand_core`'s `seed_from_u64`. An output `x` of 64 bits
/// becomes the number `(x >> 11) / 2^53` in [0, 1). A call takes one output, none at temperature 0.
///
/// ```
/// use mamba_kernels::model::{Sampler, Sampling};
///
/// # fn main() -> Result<(), mamba_kernels::model::ModelError> {
/// let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::greedy() })?;
/// assert_eq!(sampler.sample(&[1.0, 3.0, 2.0])?, 1);
/// sampler.observe(1);
/// assert_eq!(sampler.sample(&[1.0, 3.0, 2.0])?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    rng: Pcg64,
    /// Whether the token of this id was seen.
    seen: Vec<bool>,
    /// The workspace of a call.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f64,
    weight: f64,
    token: u32,
}

impl Sampler {
    /// A sampler that has seen no token.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if a parameter is outside its range.
    pub fn new(sampling: Sampling) -> Result<Self, ModelError> {
        let Sampling { temperature, top_p, repetition_penalty, .. } = sampling;
        let finite = |x: f64| x.is_finite();
        check("temperature", temperature, finite(temperature) && temperature >= 0.0, "a number, 0 or more")?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "a number above 0, at most 1")?;
        let penalty = repetition_penalty;
        check("repetition_penalty", penalty, finite(penalty) && penalty > 0.0, "a number above 0")?;
        Ok(Self::unchecked(sampling))
    }

    fn unchecked(sampling: Sampling) -> Self {
        let rng = Pcg64::seed_from_u64(sampling.seed);
        Self { sampling, rng, seen: Vec::new(), candidates: Vec::new() }
    }

    /// The parameters of the sampler.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Marks a token as seen, for the repetition penalty.
    pub fn observe(&mut self, token: u32) {
        if self.sampling.repetition_penalty == 1.0 {
            return;
        }
        let index = token as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, false);
        }
        self.seen[index] = true;
    }

    /// The next token, from the logits `[vocab]`. It is not marked as seen.
    ///
    /// A logit of negative infinity is a token that is never chosen.
    ///
    /// # Errors
    /// [`ModelError::Logit`] if a logit is NaN or positive infinity; [`ModelError::Argument`] if no token has a
    /// logit above negative infinity.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, ModelError> {
        let _mode = FloatMode::standard();
        self.candidates.clear();
        for (token, &value) in (0u32..).zip(logits) {
            if value.is_nan() || value == f32::INFINITY {
                return Err(ModelError::Logit { token, value });
            }
            if value == f32::NEG_INFINITY {
                continue;
            }
            let penalty = self.sampling.repetition_penalty;
            let seen = self.seen.get(token as usize).copied().unwrap_or(false);
            let logit = match f64::from(value) {
                logit if !seen => logit,
                logit if logit > 0.0 => (logit / penalty).min(f64::MAX),
                logit => (logit * penalty).max(f64::MIN),
            };
            // The order is that of `total_cmp`, in which -0.0 is below 0.0. The sum with 0.0 is never -0.0.
            self.candidates.push(Candidate { logit: logit + 0.0, weight: 0.0, token });
        }
        let Some(best) = self.candidates.iter().copied().min_by(order) else {
            return Err(ModelError::argument("Sampler::sample", "logits", "a finite logit", "none"));
        };
        if self.sampling.temperature == 0.0 {
            return Ok(best.token);
        }
        Ok(self.draw(best.logit))
    }

    /// Steps 3 to 5.
    fn draw(&mut self, best_logit: f64) -> u32 {
        let Sampling { temperature, top_k, top_p, .. } = self.sampling;
        let candidates = &mut self.candidates;
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, order);
            candidates.truncate(top_k);
            candidates.sort_unstable_by_key(|candidate| candidate.token);
        }
        let mut total = 0.0;
        for candidate in candidates.iter_mut() {
            candidate.weight = exp((candidate.logit - best_logit) / temperature);
            total += candidate.weight;
        }
        let mut sorted = 0;
        if top_p < 1.0 {
            let (last, sum) = walk(candidates, &mut sorted, |sum| sum >= top_p * total);
            candidates.truncate(last + 1);
            sorted = sorted.min(candidates.len());
            total = sum;
        }
        let threshold = uniform(self.rng.next_u64()) * total;
        let (chosen, _) = walk(candidates, &mut sorted, |sum| sum > threshold);
        candidates[chosen].token
    }
}

/// Goes along the order of step 3 until the running sum of weights has the property, or to the end, and returns the
/// index and the sum there. The first `sorted` candidates are in order; as many more are put there as are needed.
fn walk(candidates: &mut [Candidate], sorted: &mut usize, holds: impl Fn(f64) -> bool) -> (usize, f64) {
    let mut sum = 0.0;
    for index in 0..candidates.len() {
        if index == *sorted {
            let end = candidates.len().min(64.max(4 * index));
            if end < candidates.len() {
                candidates[index..].select_nth_unstable_by(end - index - 1, order);
            }
            candidates[index..end].sort_unstable_by(order);
            *sorted = end;
        }
        sum += candidates[index].weight;
        if holds(sum) {
            return (index, sum);
        }
    }
    (candidates.len() - 1, sum)
}

impl Default for Sampler {
    /// The model's own distribution, with seed 0.
    fn default() -> Self {
        Self::unchecked(Sampling::default())
    }
}

/// The order of step 3: by falling logit, equal ones by rising id.
fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// `(bits >> 11) / 2^53`, exactly.
fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// `e^x` for `x <= 0`, within a few units in the last place, in basic operations only: the system's own `exp` differs
/// from machine to machine. Below -708, at which the result would leave the normal range, it is 0.
fn exp(x: f64) -> f64 {
    // ln 2 in two parts; the first has so few bits that its product with n is exact.
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x < -708.0 {
        return 0.0;
    }
    // x = n ln 2 + r with |r| <= ln 2 / 2, then e^x = 2^n e^r, and e^r by its series.
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = INVERSE_FACTORIALS.iter().rev().fold(0.0, |sum, coefficient| coefficient + sum * r);
    series * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// 1 / k! for k of 0 to 13.
const INVERSE_FACTORIALS: [f64; 14] = {
    let mut inverse = [1.0; 14];
    let mut factorial = 1.0;
    let mut k = 1;
    while k < inverse.len() {
        factorial *= k as f64;
        inverse[k] = 1.0 / factorial;
        k += 1;
    }
    inverse
};

fn check(argument: &'static str, found: f64, holds: bool, expected: &str) -> Result<(), ModelError> {
    if holds {
        return Ok(());
    }
    Err(ModelError::argument("Sampler::new", argument, expected, found.to_string()))
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
