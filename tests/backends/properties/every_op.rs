//! What holds for every op on every backend.

use crate::float_mode;
use crate::harness::arrays::{Check, Device, Outcome, same_bits, stored};
use crate::harness::case::{Case, Rowwise};
use crate::harness::error_analysis::Approx;
use crate::harness::error_ratio::ErrorRatio;
use crate::harness::random::{Draw, Flavour};
use crate::ops::InProj;
use crate::ops::Linear;
use mamba_kernels::cpu::Isa;
use mamba_kernels::{Backend, Cpu, Error, Reference};
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use std::cell::RefCell;

/// Cases of a property, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 64;

/// Runs `check` on cases that proptest draws, with the seed of each.
pub fn for_cases<C: Case>(flavour: impl Fn(u64) -> Flavour, check: impl Fn(&C, u64) -> Check) {
    let mut config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(C::REGRESSIONS))),
        max_shrink_iters: 500,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    let run = |spec: C::Spec| {
        let seed = C::seed(&spec);
        check(&C::of(&spec, flavour(seed)), seed)
    };
    if let Err(error) = TestRunner::new(config).run(&C::specs(), run) {
        panic!("{error}");
    }
}

/// Every other case has special values, for comparisons of bits.
pub fn mixed(seed: u64) -> Flavour {
    if seed.is_multiple_of(2) { Flavour::Plain } else { Flavour::Special }
}

/// The two ends of what a backend has: one thread and the most.
pub fn ends<B: Backend>(devices: &[Device<B>]) -> [&Device<B>; 2] {
    [&devices[0], &devices[devices.len() - 1]]
}

/// Within the derived bounds of the oracle; and the bounds are of the size of the errors, in large cases too.
pub fn equals_reference<B: Backend, C: Case>(devices: &[Device<B>]) {
    within_bounds(devices, C::bounds);
}

/// Within `bounds` of the oracle.
pub fn within_bounds<B: Backend, C: Case>(devices: &[Device<B>], bounds: fn(&C) -> Vec<Vec<Approx>>) {
    let (oracle, [_, device]) = (Device::new(Reference), ends(devices));
    let error_ratio = RefCell::new(ErrorRatio::default());
    let check = |case: &C| {
        let (found, expected) = (case.run(device), case.run(&oracle));
        let arrays = found.arrays().zip(expected.arrays()).zip(bounds(case));
        for (((name, found), (_, expected)), bounds) in arrays {
            error_ratio.borrow_mut().compare(name, found, expected, &bounds)?;
        }
        Ok(())
    };
    C::large().iter().for_each(|spec| check(&C::of(spec, Flavour::Plain)).unwrap());
    error_ratio.take().report(C::NAME, "large cases");
    for_cases(|_| Flavour::Plain, |case: &C, _| check(case));
    error_ratio.take().report(C::NAME, "drawn cases");
}

/// The bits of the contract's operations, computed one at a time.
pub fn equals_contract_bits<B: Backend, C: Case>(devices: &[Device<B>]) {
    stated_bits(devices, C::bounds);
}

/// The bits of the operations that `bounds` does one at a time.
pub fn stated_bits<B: Backend, C: Case>(devices: &[Device<B>], bounds: fn(&C) -> Vec<Vec<Approx>>) {
    let [_, device] = ends(devices);
    let check = |case: &C| has_stated_bits(&case.run(device), &bounds(case));
    C::large().iter().for_each(|spec| check(&C::of(spec, Flavour::Plain)).unwrap());
    for_cases(mixed, |case: &C, _| check(case));
}

/// An outcome has the bits that were computed one operation at a time.
pub fn has_stated_bits(found: &Outcome, stated: &[Vec<Approx>]) -> Check {
    found.arrays().zip(stated).try_for_each(|((name, found), stated)| {
        let bits: Vec<f32> = stated.iter().map(|x| stored(x.computed, found.dtype)).collect();
        same_bits(&found.values, &bits, found.cols, &format!("{name} against the contract"))
    })
}

/// The bits of the portable instruction set on one thread, at any number of threads.
pub fn equals_portable_bits<B: Backend, C: Case>(devices: &[Device<B>]) {
    let portable = Cpu::builder().isa(Isa::Portable).threads(1).build().unwrap();
    bits_of::<B, C>(devices, &Device::new(portable));
}

/// The bits of a CPU backend.
pub fn bits_of<B: Backend, C: Case>(devices: &[Device<B>], cpu: &Device<Cpu>) {
    let check = |case: &C| {
        let expected = case.run(cpu);
        devices.iter().enumerate().try_for_each(|(i, device)| {
            let what = format!("device {i} against {}", cpu.backend.description());
            case.run(device).same_bits(&expected, &what)
        })
    };
    for spec in C::large() {
        check(&C::of(&spec, Flavour::Plain)).unwrap();
        check(&C::of(&spec, Flavour::Special)).unwrap();
    }
    for_cases(mixed, |case: &C, _| check(case));
}

/// Strides and offsets change no bit. That nothing around an output is written is checked in every run.
pub fn any_layout_gives_the_same_bits<B: Backend, C: Case>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &C, _| {
        case.dense().run(last).same_bits(&case.run(first), "dense against strided")
    });
}

/// The floating-point mode of the calling thread changes no bit, and is the caller's again after the call.
pub fn any_float_mode_of_the_caller_gives_the_same_bits<B: Backend, C: Case>(devices: &[Device<B>]) {
    let check = |case: &C, mode: (&str, u64)| {
        let expected = case.run(&devices[0]);
        ends(devices)
            .into_iter()
            .try_for_each(|device| float_mode::within(mode, || case.run(device)).same_bits(&expected, mode.0))
    };
    for spec in C::large() {
        let case = C::of(&spec, Flavour::Special);
        float_mode::OTHERS.iter().for_each(|&mode| check(&case, mode).unwrap());
    }
    for_cases(mixed, |case: &C, seed| {
        // one of the modes, whether or not the case has special values
        let mode = float_mode::OTHERS.get((seed / 2) as usize % float_mode::OTHERS.len().max(1));
        mode.map_or(Ok(()), |&mode| check(case, mode))
    });
}

/// Each wrong argument is an error that names the op and the argument, and then nothing has been written.
pub fn refuses_wrong_arguments<B: Backend, C: Case>(devices: &[Device<B>]) {
    let right = C::of(&C::complete(), Flavour::Plain);
    right.run(&devices[0]);
    for (i, (argument, spoil)) in C::WRONG.iter().enumerate() {
        let mut wrong = right.clone();
        spoil(&mut wrong);
        refused(&wrong, &devices[0], &devices[0].backend, argument, &format!("wrong argument {i}"));
    }
}

pub fn linear_refuses_weights_of_another_isa(devices: &[Device<Cpu>]) {
    refuses_weights_of_another_isa::<Linear>(devices);
}

pub fn in_proj_refuses_weights_of_another_isa(devices: &[Device<Cpu>]) {
    refuses_weights_of_another_isa::<InProj>(devices);
}

/// Weights that another instruction set has packed.
fn refuses_weights_of_another_isa<C: Case>(devices: &[Device<Cpu>]) {
    let device = &devices[0];
    for isa in Isa::available().filter(|&isa| isa != device.backend.isa()) {
        let packer = Cpu::builder().isa(isa).build().unwrap();
        refused(&C::of(&C::complete(), Flavour::Plain), device, &packer, "weight", isa.name());
    }
}

/// The case is an error that names `expected`, and nothing has been written.
pub fn refused<B: Backend, C: Case>(case: &C, device: &Device<B>, packer: &B, expected: &str, what: &str) {
    let (result, outcome) = case.run_packed_by(device, packer);
    match result {
        Err(Error::Argument { op, argument, .. }) => {
            assert_eq!((op, argument), (C::NAME, expected), "{what}");
        }
        other => panic!("{what}: `{expected}` is wrong, and the op returned {other:?}"),
    }
    outcome.same_bits(&case.before(), &format!("{what}: written")).unwrap();
}

/// Any rows, in any order and in calls of any size, give the bits of one call.
pub fn any_rows_give_the_same_bits<B: Backend, C: Rowwise>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &C, seed| {
        let whole = case.run(last);
        let mut draw = Draw::new(seed, Flavour::Plain);
        let mut left = &draw.permutation(case.tokens())[..];
        while !left.is_empty() {
            let (rows, rest) = left.split_at(1 + draw.below(left.len()));
            let part = case.select(rows).run(first);
            for ((name, part), (_, whole)) in part.outputs.iter().zip(&whole.outputs) {
                same_bits(
                    &part.values,
                    &whole.select(rows).values,
                    whole.cols,
                    &format!("{name}, {rows:?}"),
                )?;
            }
            left = rest;
        }
        Ok(())
    });
}

/// `in_proj` is two linears with the halves of the weight.
pub fn equals_two_linears<B: Backend>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &InProj, _| {
        let whole = case.run(last);
        case.halves().iter().zip(&whole.outputs).try_for_each(|(half, (name, whole))| {
            let (_, half) = &half.run(first).outputs[0];
            same_bits(&half.values, &whole.values, whole.cols, name)
        })
    });
}
