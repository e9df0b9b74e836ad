//! One suite for all backends: the same properties, for each backend and op.
//!
//! A failing test reads `avx512::selective_scan::equals_portable_bits`. A backend without its hardware prints a line
//! that says so; `MAMBA_KERNELS_REQUIRE=avx512,avx2` makes that a failure. `PROPTEST_CASES` sets the number of
//! cases per property. With `-- --show-output` the comparisons with the oracle print the largest errors as
//! fractions of their bounds.

mod harness;
#[macro_use]
mod ops;
#[path = "../shared/float_mode.rs"]
mod float_mode;
mod properties;
#[path = "../shared/skip.rs"]
mod skip;

use harness::backends_under_test::{cpu, cpu_inexact, reference};
#[cfg(feature = "cuda")]
use harness::backends_under_test::{cuda, cuda_forms, cuda_inexact};

macro_rules! suite {
    ($suite:ident $make:ident($name:literal):
        $($kind:ident $group:ident: $case:ident $(, $property:ident)*;)+) => {$(
        mod $group {
            $kind!($suite $make($name) $case);
            $(properties! { $make($name): every_op::$property })*
        }
    )+};
}

/// A test per property, on the backends that `$make($name)` gives.
macro_rules! properties {
    ($make:ident($name:literal): $($module:ident::$property:ident $(<$case:ident>)?),+ $(,)?) => {$(
        #[test]
        fn $property() {
            if let Some(devices) = crate::$make($name) {
                properties!(@call $module::$property $($case)?)(&devices);
            }
        }
    )+};
    (@call $module:ident::$property:ident) => { crate::properties::$module::$property };
    (@call $module:ident::$property:ident $case:ident) => {
        crate::properties::$module::$property::<_, crate::ops::$case>
    };
}

/// The properties of an op whose rows are independent: of an exact backend, of the oracle, and of an inexact mode.
macro_rules! rowwise {
    (exact $make:ident($name:literal) $case:ident) => {
        properties! { $make($name):
            every_op::equals_reference<$case>,
            every_op::equals_contract_bits<$case>,
            every_op::equals_portable_bits<$case>,
            every_op::any_layout_gives_the_same_bits<$case>,
            every_op::any_float_mode_of_the_caller_gives_the_same_bits<$case>,
            every_op::any_rows_give_the_same_bits<$case>,
            every_op::refuses_wrong_arguments<$case>,
        }
    };
    (oracle $make:ident($name:literal) $case:ident) => {
        properties! { $make($name):
            every_op::any_layout_gives_the_same_bits<$case>,
            every_op::any_float_mode_of_the_caller_gives_the_same_bits<$case>,
            every_op::refuses_wrong_arguments<$case>,
        }
    };
    (inexact $make:ident($name:literal) $case:ident) => {
        properties! { $make($name):
            inexact::equals_reference<$case>,
            inexact::equals_stated_bits<$case>,
            inexact::equals_portable_bits<$case>,
            every_op::any_layout_gives_the_same_bits<$case>,
            every_op::any_float_mode_of_the_caller_gives_the_same_bits<$case>,
            every_op::any_rows_give_the_same_bits<$case>,
        }
    };
}

/// The properties of an op over sequences. The oracle rounds its states between calls, so it promises no bits over
/// splits; nor does a scan in chunks.
macro_rules! sequential {
    (exact $make:ident($name:literal) $case:ident) => {
        properties! { $make($name):
            every_op::equals_reference<$case>,
            every_op::equals_contract_bits<$case>,
            every_op::equals_portable_bits<$case>,
            sequential::any_split_gives_the_same_bits<$case>,
        }
        sequential!(oracle $make($name) $case);
    };
    (oracle $make:ident($name:literal) $case:ident) => {
        properties! { $make($name):
            every_op::any_layout_gives_the_same_bits<$case>,
            every_op::any_float_mode_of_the_caller_gives_the_same_bits<$case>,
            sequential::any_batch_gives_the_same_bits<$case>,
            sequential::padding_gives_zeros_and_touches_no_state<$case>,
            sequential::later_inputs_change_no_earlier_output<$case>,
            every_op::refuses_wrong_arguments<$case>,
        }
    };
    (inexact $make:ident($name:literal) $case:ident) => {
        properties! { $make($name):
            inexact::equals_reference<$case>,
            inexact::equals_stated_bits<$case>,
            inexact::equals_portable_bits<$case>,
            every_op::any_layout_gives_the_same_bits<$case>,
            every_op::any_float_mode_of_the_caller_gives_the_same_bits<$case>,
            sequential::any_batch_gives_the_same_bits<$case>,
            sequential::padding_gives_zeros_and_touches_no_state<$case>,
            sequential::later_inputs_change_no_earlier_output<$case>,
        }
    };
}

/// The instruction sets of the CPU backend: as any exact backend, and what the CPU offers in addition.
macro_rules! isa {
    ($($name:ident = $literal:literal;)+) => {
        /// The names, for the test that none is missing.
        const ISAS: &[&str] = &[$($literal),+];
        $(mod $name {
            for_each_op!(exact cpu($literal));
            mod elementary {
                properties! { cpu($literal):
                    elementary::within_max_ulp,
                    elementary::equals_portable_bits,
                    elementary::any_slice_gives_the_same_bits,
                }
            }
            mod weights {
                properties! { cpu($literal):
                    every_op::linear_refuses_weights_of_another_isa,
                    every_op::in_proj_refuses_weights_of_another_isa,
                }
            }
            mod inexact {
                mod linear {
                    rowwise!(inexact cpu_inexact($literal) Linear);
                    properties! { cpu_inexact($literal): inexact::linear_takes_its_arithmetic_from_the_weight }
                }
                mod in_proj {
                    rowwise!(inexact cpu_inexact($literal) InProj);
                    properties! { cpu_inexact($literal): inexact::in_proj_takes_its_arithmetic_from_the_weight }
                }
                mod selective_scan {
                    sequential!(inexact cpu_inexact($literal) SelectiveScan);
                    properties! { cpu_inexact($literal):
                        inexact::a_long_chunk_gives_the_exact_bits,
                        inexact::growing_states_are_those_of_the_sequential_scan,
                    }
                }
            }
        })+
    };
}

isa! {
    portable = "portable";
    neon = "neon";
    avx2 = "avx2";
    avx512 = "avx512";
}

/// What the CUDA backend promises: as any exact backend, and of its inexact forms.
#[cfg(feature = "cuda")]
macro_rules! cuda {
    ($literal:literal) => {
        for_each_op!(exact cuda($literal));
        /// Each kernel of the exact product, also for the sizes that it is not chosen for.
        mod forms {
            mod linear {
                properties! { cuda_forms($literal): every_op::equals_portable_bits<Linear> }
            }
            mod in_proj {
                properties! { cuda_forms($literal): every_op::equals_portable_bits<InProj> }
            }
        }
        mod inexact {
            mod linear {
                properties! { cuda_inexact($literal): cuda_inexact::linear_is_within_its_bound }
            }
            mod in_proj {
                properties! { cuda_inexact($literal): cuda_inexact::in_proj_is_within_its_bound }
            }
            mod selective_scan {
                properties! { cuda_inexact($literal):
                    cuda_inexact::scan_is_within_its_bound,
                    cuda_inexact::scan_equals_chunks_of_the_cpu,
                }
            }
        }
    };
}

/// A GPU, if one exists.
#[cfg(feature = "cuda")]
mod cuda {
    cuda!("cuda");
}

/// The kernels of the GPU on the CPU.
#[cfg(feature = "cuda")]
mod cuda_executor {
    cuda!("cuda-executor");
}

/// The oracle in f64.
mod reference {
    for_each_op!(oracle reference("reference"));
}

#[test]
fn every_isa_has_an_instance() {
    for isa in mamba_kernels::cpu::Isa::ALL {
        assert!(ISAS.contains(&isa.name()), "no instance of {isa}");
    }
}

/// Threads that do not exist are neither counted nor kept silent about.
#[test]
fn threads_are_no_more_than_there_are_cpus() {
    let cpu = |threads| mamba_kernels::Cpu::builder().threads(threads).build().unwrap();
    assert_eq!((1..=3).map(|threads| cpu(threads).threads()).collect::<Vec<_>>(), [1, 2, 3]);
    let cpus = std::thread::available_parallelism().unwrap().get();
    let many = cpu(4096);
    assert_eq!(many.threads(), cpus.min(4096));
    assert_eq!(many.description().contains("of the 4096 asked for"), cpus < 4096, "{}", many.description());
    assert!(!cpu(3).description().contains("asked"));
}
