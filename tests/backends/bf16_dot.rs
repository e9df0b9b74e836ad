//! The mode [`Products::Bf16Dot`]: within its bound, and the same bits on every instruction set.

use crate::arrays::{Check, Device, same_bits, stored};
use crate::bounds::{self, Approx};
use crate::case::Case;
use crate::closeness::Closeness;
use crate::draw::Flavour;
use crate::in_proj::InProj;
use crate::linear::Linear;
use crate::properties::{ends, for_cases, mixed, refused};
use mamba_kernels::cpu::{Isa, Products};
use mamba_kernels::{Backend, Cpu, Reference};
use std::cell::RefCell;

/// An op that is a matrix product.
pub trait Product: Case {
    /// As [`Case::bounds`], with the arithmetic of [`Products::Bf16Dot`].
    fn bf16_dot_bounds(&self) -> Vec<Vec<Approx>>;
}

impl Product for Linear {
    fn bf16_dot_bounds(&self) -> Vec<Vec<Approx>> {
        vec![bounds::linear_bf16_dot(self)]
    }
}

impl Product for InProj {
    fn bf16_dot_bounds(&self) -> Vec<Vec<Approx>> {
        self.halves().iter().map(bounds::linear_bf16_dot).collect()
    }
}

/// Within the derived bounds of the oracle, which computes with the numbers as they were.
pub fn equals_reference<B: Backend, C: Product>(devices: &[Device<B>]) {
    let (oracle, [_, device]) = (Device::new(Reference), ends(devices));
    let closeness = RefCell::new(Closeness::default());
    let check = |case: &C| -> Check {
        let (found, expected) = (case.run(device), case.run(&oracle));
        let arrays = found.arrays().zip(expected.arrays()).zip(case.bf16_dot_bounds());
        for (((name, found), (_, expected)), bounds) in arrays {
            closeness.borrow_mut().compare(name, found, expected, &bounds)?;
        }
        Ok(())
    };
    C::large().iter().for_each(|spec| check(&C::of(spec, Flavour::Plain)).unwrap());
    for_cases(|_| Flavour::Plain, |case: &C, _| check(case));
    closeness.take().report(C::NAME, "bf16 dot products");
}

/// The bits of the mode's operations, computed one at a time.
pub fn equals_stated_bits<B: Backend, C: Product>(devices: &[Device<B>]) {
    let [_, device] = ends(devices);
    let check = |case: &C| -> Check {
        let found = case.run(device);
        found.arrays().zip(case.bf16_dot_bounds()).try_for_each(|((name, found), stated)| {
            let bits: Vec<f32> = stated.iter().map(|x| stored(x.binary32, found.dtype)).collect();
            same_bits(&found.values, &bits, found.cols, &format!("{name} against the operations"))
        })
    };
    C::large().iter().for_each(|spec| check(&C::of(spec, Flavour::Plain)).unwrap());
    for_cases(mixed, |case: &C, _| check(case));
}

/// The bits of the portable instruction set on one thread, at any number of threads.
pub fn equals_portable_bits<B: Backend, C: Case>(devices: &[Device<B>]) {
    let portable = Cpu::builder().isa(Isa::Portable).threads(1).products(Products::Bf16Dot);
    let portable = Device::new(portable.build().unwrap());
    let check = |case: &C| -> Check {
        let expected = case.run(&portable);
        devices.iter().try_for_each(|device| case.run(device).same_bits(&expected, "against portable"))
    };
    C::large().iter().for_each(|spec| check(&C::of(spec, Flavour::Special)).unwrap());
    for_cases(mixed, |case: &C, _| check(case));
}

pub fn linear_refuses_weights_of_the_other_mode(devices: &[Device<Cpu>]) {
    refuses_weights_of_the_other_mode::<Linear>(devices);
}

pub fn in_proj_refuses_weights_of_the_other_mode(devices: &[Device<Cpu>]) {
    refuses_weights_of_the_other_mode::<InProj>(devices);
}

/// Weights of one mode are an error in the other, both ways: no mode is silent.
fn refuses_weights_of_the_other_mode<C: Case>(devices: &[Device<Cpu>]) {
    let fast = &devices[0];
    let exact = Device::new(Cpu::builder().isa(fast.backend.isa()).threads(1).build().unwrap());
    let case = C::of(&C::complete(), Flavour::Plain);
    refused(&case, fast, &exact.backend, "weight", "exact weights");
    refused(&case, &exact, &fast.backend, "weight", "bf16 weights");
}
