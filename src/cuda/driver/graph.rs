//! Launches as a graph of the device, a chain of one node per launch, and its replay.
//!
//! The nodes are added one by one, not captured from a stream: nothing else that the thread does can get into the
//! graph or break it, and each error belongs to one launch.

use super::failure::failed;
use super::interface::{Graph, Launch};
use crate::arrays::Result;
use cudarc::driver::{CudaContext, CudaStream, result, sys};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

const WHAT: &str = "the recording of a graph";

/// A graph that is being made. It is destroyed when this is dropped; the executable graph does not refer to it.
struct Chain {
    graph: sys::CUgraph,
    last: Option<sys::CUgraphNode>,
}

impl Chain {
    fn new() -> Result<Self> {
        let mut graph = ptr::null_mut();
        // SAFETY: the pointer is to a live variable, and 0 is the only value of the flags.
        let created = unsafe { sys::cuGraphCreate(&mut graph, 0) }.result();
        created.map_err(|error| failed(WHAT, error))?;
        Ok(Self { graph, last: None })
    }

    /// Adds a launch that runs after all before it.
    fn push(&mut self, function: sys::CUfunction, launch: &Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, block, shared_bytes, args } = *launch;
        let mut parameters = [args.as_ptr().cast_mut().cast::<c_void>()];
        let node = sys::CUDA_KERNEL_NODE_PARAMS {
            func: function,
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: shared_bytes,
            kernelParams: parameters.as_mut_ptr(),
            extra: ptr::null_mut(),
            kern: ptr::null_mut(), // `func` names the kernel
            ctx: ptr::null_mut(),  // the current context
        };
        let before = self.last.as_slice();
        let mut added = ptr::null_mut();
        // SAFETY: 1. the graph was created in `new`, and the nodes in `before` were added to it. 2. The function is of a
        // module that is loaded. 3. `parameters` points to the kernel's one argument struct, which the driver copies
        // before this returns; what is in it is covered by "Safety of a launch" at `Launch`.
        let pushed = unsafe {
            sys::cuGraphAddKernelNode_v2(&mut added, self.graph, before.as_ptr(), before.len(), &node)
        };
        pushed.result().map_err(|error| failed(kernel, error))?;
        self.last = Some(added);
        Ok(())
    }

    fn instantiate(&self) -> Result<sys::CUgraphExec> {
        // SAFETY: the graph was created in `new` and lives.
        let made = unsafe { result::graph::instantiate(self.graph, sys::CUgraphInstantiate_flags(0)) };
        made.map_err(|error| failed(WHAT, error))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: `new` created the graph, and it is destroyed once.
        let destroyed = unsafe { result::graph::destroy(self.graph) };
        // after a failure of the device nothing can be destroyed
        let _ = destroyed;
    }
}

/// Makes a graph of launches, which is replayed on `stream`. The context of `stream` is the calling thread's, and the
/// functions are of a module that outlives the graph.
pub(super) fn record<'a>(
    stream: &Arc<CudaStream>,
    launches: impl Iterator<Item = Result<(sys::CUfunction, &'a Launch<'a>)>>,
) -> Result<Box<dyn Graph>> {
    let mut chain = Chain::new()?;
    for launch in launches {
        let (function, launch) = launch?;
        chain.push(function, launch)?;
    }
    let executable = chain.instantiate()?;
    Ok(Box::new(Recorded { executable, stream: stream.clone(), context: stream.context().clone() }))
}

/// A graph of the device.
#[derive(Debug)]
struct Recorded {
    executable: sys::CUgraphExec,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

// SAFETY: the driver allows any thread to launch and destroy an executable graph.
unsafe impl Send for Recorded {}
// SAFETY: launching is the only use of a shared graph. Any thread may do it, and the stream runs the launches in turn.
unsafe impl Sync for Recorded {}

impl Graph for Recorded {
    fn replay(&self) -> Result<()> {
        const WHAT: &str = "the replay of a graph";
        self.context.bind_to_thread().map_err(|error| failed(WHAT, error))?;
        // SAFETY: `self` keeps the graph and the stream alive. The addresses in the launches are those that were
        // recorded, and a workspace keeps their memory or records anew.
        let launched = unsafe { result::graph::launch(self.executable, self.stream.cu_stream()) };
        launched.map_err(|error| failed(WHAT, error))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: `self` owns the graph and is being dropped; the driver keeps what a running launch needs.
            let destroyed = unsafe { result::graph::exec_destroy(self.executable) };
            // after a failure of the device nothing can be destroyed
            let _ = destroyed;
        }
    }
}
