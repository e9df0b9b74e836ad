//! One suite for all backends: the same properties, instantiated per instance and op.
//!
//! A failing test reads `avx512::selective_scan::equals_portable_bits`. An instance whose hardware is absent prints a
//! line that says so; `MAMBA_KERNELS_REQUIRE=avx512,avx2` makes that a failure. `PROPTEST_CASES` sets the number of
//! cases per property. With `-- --show-output` the comparisons with the oracle print how near the errors come to
//! their bounds.

#[path = "../shared/absent.rs"]
mod absent;
mod arrays;
mod bounds;
mod case;
mod causal_conv1d;
mod closeness;
#[cfg(feature = "cuda")]
mod cuda_inexact;
mod draw;
mod elementary;
mod embedding;
mod golden;
mod in_proj;
mod instances;
mod linear;
mod modes;
mod past_caches;
mod properties;
mod refusals;
mod rms_norm;
mod selective_scan;
mod sequences;
mod shapes;

use instances::{cpu, cpu_inexact, reference};
#[cfg(feature = "cuda")]
use instances::{cuda, cuda_inexact};

/// Tests of an instance, named as they are here: `group: function::<..>, ..;`. A group is an op, or what belongs to
/// none.
macro_rules! tests {
    ($make:ident($name:literal): $($group:ident: $($module:ident::$property:ident $(<$case:ident>)?),+;)+) => {$(
        mod $group {
            $(
                #[test]
                fn $property() {
                    if let Some(devices) = crate::$make($name) {
                        tests!(@call $module::$property $group $($case)?)(&devices);
                    }
                }
            )+
        }
    )+};
    (@call $module:ident::$property:ident $group:ident) => { crate::$module::$property };
    (@call $module:ident::$property:ident $group:ident $case:ident) => {
        crate::$module::$property::<_, crate::$group::$case>
    };
}

/// All that an exact backend promises.
macro_rules! exact {
    ($make:ident($name:literal)) => {
        tests! { $make($name):
            linear:
                properties::equals_reference<Linear>,
                properties::equals_contract_bits<Linear>,
                properties::equals_portable_bits<Linear>,
                properties::any_layout_gives_the_same_bits<Linear>,
                properties::any_rows_give_the_same_bits<Linear>,
                properties::refuses_wrong_arguments<Linear>;
            in_proj:
                properties::equals_reference<InProj>,
                properties::equals_contract_bits<InProj>,
                properties::equals_portable_bits<InProj>,
                properties::any_layout_gives_the_same_bits<InProj>,
                properties::any_rows_give_the_same_bits<InProj>,
                properties::equals_two_linears,
                properties::refuses_wrong_arguments<InProj>;
            rms_norm:
                properties::equals_reference<RmsNorm>,
                properties::equals_contract_bits<RmsNorm>,
                properties::equals_portable_bits<RmsNorm>,
                properties::any_layout_gives_the_same_bits<RmsNorm>,
                properties::any_rows_give_the_same_bits<RmsNorm>,
                properties::refuses_wrong_arguments<RmsNorm>;
            embedding:
                properties::equals_reference<Embedding>,
                properties::equals_contract_bits<Embedding>,
                properties::equals_portable_bits<Embedding>,
                properties::any_layout_gives_the_same_bits<Embedding>,
                properties::any_rows_give_the_same_bits<Embedding>,
                properties::refuses_wrong_arguments<Embedding>;
            causal_conv1d:
                properties::equals_reference<CausalConv1d>,
                properties::equals_contract_bits<CausalConv1d>,
                properties::equals_portable_bits<CausalConv1d>,
                properties::any_layout_gives_the_same_bits<CausalConv1d>,
                sequences::any_split_gives_the_same_bits<CausalConv1d>,
                sequences::any_batch_gives_the_same_bits<CausalConv1d>,
                sequences::padding_gives_zeros_and_touches_no_state<CausalConv1d>,
                sequences::later_inputs_change_no_earlier_output<CausalConv1d>,
                properties::refuses_wrong_arguments<CausalConv1d>;
            selective_scan:
                properties::equals_reference<SelectiveScan>,
                properties::equals_contract_bits<SelectiveScan>,
                properties::equals_portable_bits<SelectiveScan>,
                properties::any_layout_gives_the_same_bits<SelectiveScan>,
                sequences::any_split_gives_the_same_bits<SelectiveScan>,
                sequences::any_batch_gives_the_same_bits<SelectiveScan>,
                sequences::padding_gives_zeros_and_touches_no_state<SelectiveScan>,
                sequences::later_inputs_change_no_earlier_output<SelectiveScan>,
                properties::refuses_wrong_arguments<SelectiveScan>;
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
                    properties::linear_refuses_weights_of_another_isa,
                    properties::in_proj_refuses_weights_of_another_isa;
            }
            mod inexact {
                tests! { cpu_inexact($literal):
                    linear:
                        modes::equals_reference<Linear>,
                        modes::equals_stated_bits<Linear>,
                        modes::equals_portable_bits<Linear>,
                        modes::linear_takes_its_arithmetic_from_the_weight,
                        properties::any_layout_gives_the_same_bits<Linear>,
                        properties::any_rows_give_the_same_bits<Linear>;
                    in_proj:
                        modes::equals_reference<InProj>,
                        modes::equals_stated_bits<InProj>,
                        modes::equals_portable_bits<InProj>,
                        modes::in_proj_takes_its_arithmetic_from_the_weight,
                        properties::any_layout_gives_the_same_bits<InProj>,
                        properties::any_rows_give_the_same_bits<InProj>;
                    selective_scan:
                        modes::equals_reference<SelectiveScan>,
                        modes::equals_stated_bits<SelectiveScan>,
                        modes::equals_portable_bits<SelectiveScan>,
                        modes::a_long_chunk_gives_the_exact_bits,
                        properties::any_layout_gives_the_same_bits<SelectiveScan>,
                        sequences::any_batch_gives_the_same_bits<SelectiveScan>,
                        sequences::padding_gives_zeros_and_touches_no_state<SelectiveScan>,
                        sequences::later_inputs_change_no_earlier_output<SelectiveScan>;
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
            properties::any_layout_gives_the_same_bits<Linear>,
            properties::refuses_wrong_arguments<Linear>;
        in_proj:
            properties::any_layout_gives_the_same_bits<InProj>,
            properties::equals_two_linears,
            properties::refuses_wrong_arguments<InProj>;
        rms_norm:
            properties::any_layout_gives_the_same_bits<RmsNorm>,
            properties::refuses_wrong_arguments<RmsNorm>;
        embedding:
            properties::any_layout_gives_the_same_bits<Embedding>,
            properties::refuses_wrong_arguments<Embedding>;
        causal_conv1d:
            properties::any_layout_gives_the_same_bits<CausalConv1d>,
            sequences::any_batch_gives_the_same_bits<CausalConv1d>,
            sequences::padding_gives_zeros_and_touches_no_state<CausalConv1d>,
            sequences::later_inputs_change_no_earlier_output<CausalConv1d>,
            properties::refuses_wrong_arguments<CausalConv1d>;
        selective_scan:
            properties::any_layout_gives_the_same_bits<SelectiveScan>,
            sequences::any_batch_gives_the_same_bits<SelectiveScan>,
            sequences::padding_gives_zeros_and_touches_no_state<SelectiveScan>,
            sequences::later_inputs_change_no_earlier_output<SelectiveScan>,
            properties::refuses_wrong_arguments<SelectiveScan>;
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
