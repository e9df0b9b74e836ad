//! What may bound a kernel, and how much of it this machine has.

use crate::harness::Work;
use crate::machine::{Level, Loop, Memory, Traffic, bf16_dots, elementary, multiply_adds};
use mamba_kernels::cpu::{Elementary, Isa};

/// What may bound a kernel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Resource {
    /// Multiply-adds.
    Fma,
    /// bf16 dot products.
    Bf16Dot,
    /// `Elementary::Exp`, the crate's own: no instruction computes it.
    Exp,
    Bandwidth(Traffic, Level),
}

impl Resource {
    pub fn name(self) -> String {
        match self {
            Resource::Fma => "multiply-adds".into(),
            Resource::Bf16Dot => "bf16 dot products".into(),
            Resource::Exp => "exponentials".into(),
            Resource::Bandwidth(traffic, level) => format!("{} {}", level.name(), traffic.name()),
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Resource::Fma | Resource::Bf16Dot => "GFLOP/s",
            Resource::Exp => "Gexp/s",
            Resource::Bandwidth(..) => "GB/s",
        }
    }

    /// What a run takes of the resource.
    pub fn amount(self, work: &Work) -> f64 {
        match self {
            Resource::Fma => work.flops,
            Resource::Bf16Dot => work.bf16_flops,
            Resource::Exp => work.exps,
            Resource::Bandwidth(Traffic::Read, _) => work.read,
            Resource::Bandwidth(Traffic::Write, _) => work.written,
            Resource::Bandwidth(Traffic::Copy, _) => work.read + work.written,
        }
    }

    /// The loop that takes nothing else; nothing if this CPU has no such instruction.
    pub fn ceiling(self, memory: &mut Memory, isa: Isa, threads: usize) -> Option<Loop<'_>> {
        match self {
            Resource::Fma => Some(multiply_adds(isa, threads)),
            Resource::Bf16Dot => bf16_dots(isa, threads),
            Resource::Exp => Some(elementary(isa, Elementary::Exp, threads)),
            Resource::Bandwidth(traffic, level) => Some(memory.traffic(traffic, level, threads)),
        }
    }
}

/// The ceilings of one instruction set and thread count, in units per second; those that it lacks are left out.
pub struct Ceilings {
    pub isa: Isa,
    pub threads: usize,
    pub rates: Vec<(Resource, f64)>,
}

impl Ceilings {
    /// The resource that needs the longest for this work.
    pub fn limit(&self, work: &Work, level: Level) -> Resource {
        // a kernel that writes little is held against reading alone
        let traffic = match work.written / work.read.max(1.0) {
            share if share < 0.25 => Traffic::Read,
            share if share > 4.0 => Traffic::Write,
            _ => Traffic::Copy,
        };
        let fits = |resource: Resource| match resource {
            Resource::Bandwidth(..) => resource == Resource::Bandwidth(traffic, level),
            _ => true,
        };
        let there = self.rates.iter().filter(|(resource, _)| fits(*resource));
        let longest = there.max_by(|a, b| (a.0.amount(work) / a.1).total_cmp(&(b.0.amount(work) / b.1)));
        longest.expect("every level of memory is measured").0
    }
}
