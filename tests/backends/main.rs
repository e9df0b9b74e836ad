//! One suite for all backends: the same properties, instantiated per instance and op.
//!
//! A failing test reads `avx512::selective_scan::equals_portable_bits`. An instance whose hardware is absent prints a
//! line that says so; `MAMBA_KERNELS_REQUIRE=avx512,avx2` makes that a failure. `PROPTEST_CASES` sets the number of
//! cases per property. With `-- --show-output` the comparisons with the oracle print how near the errors come to
//! their bounds.

mod harness;
mod ops;
mod properties;
#[path = "../shared/skip.rs"]
mod skip;

use harness::backends_under_test::{cpu, cpu_inexact, reference};
#[cfg(feature = "cuda")]
use harness::backends_under_test::{cuda, cuda_inexact};

/// Tests of an instance, named as they are here: `group: function::<..>, ..;`. A group is an op, or what belongs to
/// none.
macro_rules! tests {
    ($make:ident($name:literal): $($group:ident: $($module:ident::$property:ident $(<$case:ident>)?),+;)+) => {$(
        mod $group {
            $(
                #[test]
                fn $property() {
                    if let Some(devices) = crate::$make($name) {
                        tests!(@call $module::$property $($case)?)(&devices);
                    }
                }
            )+
        }
    )+};
    (@call $module:ident::$property:ident) => { crate::properties::$module::$property };
    (@call $module:ident::$property:ident $case:ident) => {
        crate::properties::$module::$property::<_, crate::ops::$case>
    };
}

/// All that an exact backend promises.
macro_rules! exact {
    ($make:ident($name:literal)) => {
        tests! { $make($name):
            linear:
                every_op::equals_reference<Linear>,
                every_op::equals_contract_bits<Linear>,
                every_op::equals_portable_bits<Linear>,
                every_op::any_layout_gives_the_same_bits<Linear>,
                every_op::any_rows_give_the_same_bits<Linear>,
                every_op::refuses_wrong_arguments<Linear>;
            in_proj:
                every_op::equals_reference<InProj>,
                every_op::equals_contract_bits<InProj>,
                every_op::equals_portable_bits<InProj>,
                every_op::any_layout_gives_the_same_bits<InProj>,
                every_op::any_rows_give_the_same_bits<InProj>,
                every_op::equals_two_linears,
                every_op::refuses_wrong_arguments<InProj>;
            rms_norm:
                every_op::equals_reference<RmsNorm>,
                every_op::equals_contract_bits<RmsNorm>,
                every_op::equals_portable_bits<RmsNorm>,
                every_op::any_layout_gives_the_same_bits<RmsNorm>,
                every_op::any_rows_give_the_same_bits<RmsNorm>,
                every_op::refuses_wrong_arguments<RmsNorm>;
            embedding:
                every_op::equals_reference<Embedding>,
                every_op::equals_contract_bits<Embedding>,
                every_op::equals_portable_bits<Embedding>,
                every_op::any_layout_gives_the_same_bits<Embedding>,
                every_op::any_rows_give_the_same_bits<Embedding>,
                every_op::refuses_wrong_arguments<Embedding>;
            causal_conv1d:
                every_op::equals_reference<CausalConv1d>,
                every_op::equals_contract_bits<CausalConv1d>,
                every_op::equals_portable_bits<CausalConv1d>,
                every_op::any_layout_gives_the_same_bits<CausalConv1d>,
                sequential::any_split_gives_the_same_bits<CausalConv1d>,
                sequential::any_batch_gives_the_same_bits<CausalConv1d>,
                sequential::padding_gives_zeros_and_touches_no_state<CausalConv1d>,
                sequential::later_inputs_change_no_earlier_output<CausalConv1d>,
                every_op::refuses_wrong_arguments<CausalConv1d>;
            selective_scan:
                every_op::equals_reference<SelectiveScan>,
                every_op::equals_contract_bits<SelectiveScan>,
                every_op::equals_portable_bits<SelectiveScan>,
                every_op::any_layout_gives_the_same_bits<SelectiveScan>,
                sequential::any_split_gives_the_same_bits<SelectiveScan>,
                sequential::any_batch_gives_the_same_bits<SelectiveScan>,
                sequential::padding_gives_zeros_and_touches_no_state<SelectiveScan>,
                sequential::later_inputs_change_no_earlier_output<SelectiveScan>,
                every_op::refuses_wrong_arguments<SelectiveScan>;
            golden:
                golden::causal_conv1d,
                golden::selective_scan,
                golden::rms_norm;
        }
    };
}

/// An instruction set of the CPU backend: as any exact backend, and what the CPU offers besides.
macro_rules! isa {
    ($($name:ident = $literal:literal;)+) => {
        /// The names, for the test that none is missing.
        const ISAS: &[&str] = &[$($literal),+];
        $(mod $name {
            exact!(cpu($literal));
            tests! { cpu($literal):
                elementary:
                    elementary::within_max_ulp,
                    elementary::equals_portable_bits,
                    elementary::any_slice_gives_the_same_bits;
                weights:
                    every_op::linear_refuses_weights_of_another_isa,
                    every_op::in_proj_refuses_weights_of_another_isa;
            }
            mod inexact {
                tests! { cpu_inexact($literal):
                    linear:
                        inexact::equals_reference<Linear>,
                        inexact::equals_stated_bits<Linear>,
                        inexact::equals_portable_bits<Linear>,
                        inexact::linear_refuses_weights_of_the_other_mode,
                        every_op::any_layout_gives_the_same_bits<Linear>,
                        every_op::any_rows_give_the_same_bits<Linear>;
                    in_proj:
                        inexact::equals_reference<InProj>,
                        inexact::equals_stated_bits<InProj>,
                        inexact::equals_portable_bits<InProj>,
                        inexact::in_proj_refuses_weights_of_the_other_mode,
                        every_op::any_layout_gives_the_same_bits<InProj>,
                        every_op::any_rows_give_the_same_bits<InProj>;
                    selective_scan:
                        inexact::equals_reference<SelectiveScan>,
                        inexact::equals_stated_bits<SelectiveScan>,
                        inexact::equals_portable_bits<SelectiveScan>,
                        inexact::a_long_chunk_gives_the_exact_bits,
                        every_op::any_layout_gives_the_same_bits<SelectiveScan>,
                        sequential::any_batch_gives_the_same_bits<SelectiveScan>,
                        sequential::padding_gives_zeros_and_touches_no_state<SelectiveScan>,
                        sequential::later_inputs_change_no_earlier_output<SelectiveScan>;
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
        exact!(cuda($literal));
        mod inexact {
            tests! { cuda_inexact($literal):
                linear: cuda_inexact::linear_is_within_its_bound;
                in_proj: cuda_inexact::in_proj_is_within_its_bound;
                selective_scan:
                    cuda_inexact::scan_is_within_its_bound,
                    cuda_inexact::scan_equals_chunks_of_the_cpu;
            }
        }
    };
}

/// A GPU, where there is one.
#[cfg(feature = "cuda")]
mod cuda {
    cuda!("cuda");
}

/// The kernels of the GPU on the CPU.
#[cfg(feature = "cuda")]
mod cuda_executor {
    cuda!("cuda-executor");
}

/// The oracle promises no bits over splits, since it rounds its states between calls.
mod reference {
    tests! { reference("reference"):
        linear:
            every_op::any_layout_gives_the_same_bits<Linear>,
            every_op::refuses_wrong_arguments<Linear>;
        in_proj:
            every_op::any_layout_gives_the_same_bits<InProj>,
            every_op::equals_two_linears,
            every_op::refuses_wrong_arguments<InProj>;
        rms_norm:
            every_op::any_layout_gives_the_same_bits<RmsNorm>,
            every_op::refuses_wrong_arguments<RmsNorm>;
        embedding:
            every_op::any_layout_gives_the_same_bits<Embedding>,
            every_op::refuses_wrong_arguments<Embedding>;
        causal_conv1d:
            every_op::any_layout_gives_the_same_bits<CausalConv1d>,
            sequential::any_batch_gives_the_same_bits<CausalConv1d>,
            sequential::padding_gives_zeros_and_touches_no_state<CausalConv1d>,
            sequential::later_inputs_change_no_earlier_output<CausalConv1d>,
            every_op::refuses_wrong_arguments<CausalConv1d>;
        selective_scan:
            every_op::any_layout_gives_the_same_bits<SelectiveScan>,
            sequential::any_batch_gives_the_same_bits<SelectiveScan>,
            sequential::padding_gives_zeros_and_touches_no_state<SelectiveScan>,
            sequential::later_inputs_change_no_earlier_output<SelectiveScan>,
            every_op::refuses_wrong_arguments<SelectiveScan>;
        golden:
            golden::causal_conv1d,
            golden::selective_scan,
            golden::rms_norm;
    }
}

#[test]
fn every_isa_has_an_instance() {
    for isa in mamba_kernels::cpu::Isa::ALL {
        assert!(ISAS.contains(&isa.name()), "no instance of {isa}");
    }
}
