//! Launches that are captured as a graph of the device, and its replay.

use super::failure::failed;
use super::interface::Graph;
use crate::arrays::Result;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaStream, sys};
use std::sync::Arc;

/// Captures what `launch` puts on the stream that it is given, as a graph that is replayed on `stream`. The context of
/// `stream` is the calling thread's.
pub(super) fn capture(
    stream: &Arc<CudaStream>,
    launch: impl FnOnce(sys::CUstream) -> Result<()>,
) -> Result<Box<dyn Graph>> {
    const WHAT: &str = "the recording of a graph";
    let capture = CaptureStream::new().map_err(|error| failed(WHAT, error))?;
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: the stream was created above, is destroyed at the end of this function, and no other thread has it.
    unsafe { result::stream::begin_capture(capture.0, mode) }.map_err(|error| failed(WHAT, error))?;
    let launched = launch(capture.0);
    // SAFETY: as above; the capture was begun on this stream by this thread.
    let captured = unsafe { result::stream::end_capture(capture.0) };
    let captured = launched.and(captured.map_err(|error| failed(WHAT, error)))?;
    // SAFETY: `captured` is the graph that the capture has returned; it is destroyed once, and the executable graph
    // does not refer to it.
    let made = unsafe {
        let made = result::graph::instantiate(captured, sys::CUgraphInstantiate_flags(0));
        let _ = result::graph::destroy(captured);
        made
    };
    let executable = made.map_err(|error| failed(WHAT, error))?;
    Ok(Box::new(Recorded { executable, stream: stream.clone(), context: stream.context().clone() }))
}

/// A stream on which launches are captured and nothing runs. `CudaContext::new_stream` would change how a caller's
/// context synchronises.
struct CaptureStream(sys::CUstream);

impl CaptureStream {
    /// In the context of the calling thread.
    fn new() -> std::result::Result<Self, DriverError> {
        Ok(Self(result::stream::create(result::stream::StreamKind::NonBlocking)?))
    }
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        // SAFETY: `new` created the stream, in the context that is still current, and it is destroyed once.
        let _ = unsafe { result::stream::destroy(self.0) };
    }
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
