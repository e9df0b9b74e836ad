//! RMSNorm with the residual add.

use super::{Prepared, Work, Workload, rounding, values, within};
use mamba_kernels::ops::RmsNorm;
use mamba_kernels::{Backend, Cpu, DType, Reference, Rows};

/// `m` tokens of `d` channels.
pub struct Norm {
    pub m: usize,
    pub d: usize,
}

impl Norm {
    fn on<B: Backend + Clone>(&self, backend: &B) -> On<B> {
        On {
            backend: backend.clone(),
            sizes: [self.m, self.d],
            input: backend.upload(&values(self.m * self.d, 1)).unwrap(),
            residual: backend.upload(&values(self.m * self.d, 2)).unwrap(),
            weight: backend.upload(&values(self.d, 3)).unwrap(),
            output: backend.zeros(self.m * self.d).unwrap(),
            workspace: Default::default(),
        }
    }
}

struct On<B: Backend> {
    backend: B,
    sizes: [usize; 2],
    input: B::Buffer<f32>,
    residual: B::Buffer<f32>,
    weight: B::Buffer<f32>,
    output: B::Buffer<f32>,
    workspace: B::Workspace,
}

impl<B: Backend> Prepared for On<B> {
    fn run(&mut self) {
        let (backend, [m, d]) = (&self.backend, self.sizes);
        let args = RmsNorm::<B, f32, f32> {
            input: Rows::new(backend.view(&self.input), m, d).unwrap(),
            residual: Some(Rows::new(backend.view_mut(&mut self.residual), m, d).unwrap()),
            weight: Some(backend.view(&self.weight)),
            eps: 1e-5,
            output: Rows::new(backend.view_mut(&mut self.output), m, d).unwrap(),
        };
        backend.rms_norm(args, &mut self.workspace).unwrap();
    }

    fn outputs(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.sizes[0] * self.sizes[1]];
        self.backend.read(self.backend.view(&self.output), &mut values).unwrap();
        values
    }
}

impl Workload for Norm {
    fn op(&self) -> &'static str {
        "rms_norm"
    }

    fn shape(&self) -> String {
        format!("m{}_d{}", self.m, self.d)
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn work(&self) -> Work {
        let bytes = 4.0 * (self.m * self.d) as f64;
        // the residual is read and written
        Work {
            flops: bytes / 4.0 * 5.0,
            exps: 0.0,
            read: 2.0 * bytes,
            written: 2.0 * bytes,
            resident: 3.0 * bytes,
            ..Work::default()
        }
    }

    fn place(&self, cpu: &Cpu) -> Box<dyn Prepared> {
        Box::new(self.on(cpu))
    }

    /// A rounding per column in the sum of squares, whose terms have one sign, and a few in the rest.
    fn check(&self, found: &[f32]) -> Result<(), String> {
        let mut on = self.on(&Reference);
        on.run();
        let expected = on.outputs();
        let scale = (self.d + 16) as f64 * rounding(DType::F32);
        within(found, DType::F32, |i| (expected[i], scale * f64::from(expected[i]).abs()))
    }
}
