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

/// A stream that launches are captured on, and that nothing runs on. `CudaContext::new_stream` would change how a
/// caller's context synchronises.
struct CaptureStream(sys::CUstream);

impl CaptureStream {
    /// In the context of the calling thread.
    fn new() -> std::result::Result<Self, DriverError> {
        Ok(Self(result::stream::create(result::stream::StreamKind::NonBlocking)?))
    }
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        // SAFETY: it was made by `new`, and goes in the call that made it, in the same context.
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

// SAFETY: the driver allows a graph to be launched and destroyed from any thread.
unsafe impl Send for Recorded {}
// SAFETY: a launch is the only use of a shared graph, and the driver allows it from any thread; the launches are one
// after the other on the stream.
unsafe impl Sync for Recorded {}

impl Graph for Recorded {
    fn replay(&self) -> Result<()> {
        const WHAT: &str = "the replay of a graph";
        self.context.bind_to_thread().map_err(|error| failed(WHAT, error))?;
        // SAFETY: both are valid until they are dropped. Who replays vouches for the addresses in the launches.
        let launched = unsafe { result::graph::launch(self.executable, self.stream.cu_stream()) };
        launched.map_err(|error| failed(WHAT, error))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: nothing uses it any more; the driver keeps what a launch in flight needs.
            let destroyed = unsafe { result::graph::exec_destroy(self.executable) };
            // a failed device has nothing to destroy
            let _ = destroyed;
        }
    }
}
