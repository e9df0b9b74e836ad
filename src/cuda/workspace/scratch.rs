//! [`Workspace`]: scratch memory, tables of spans, and steps that are recorded once and replayed.
#![forbid(unsafe_code)]

use super::spans::{SpanTable, Spans, cut_into_spans};
use crate::arrays::{Batch, Error, Result};
use crate::cuda::driver::interface::{Graph, Launch, RecordedLaunch};
use crate::cuda::memory::device::{Device, Memory, OpenStep};
use std::sync::Arc;

/// Tables of spans that a workspace keeps: calls that follow each other have few batches.
const TABLES: usize = 8;

/// Graphs of steps that a workspace keeps: one per number of sequences that a serving loop may have at a time. To record
/// one anew costs as much as several steps.
const GRAPHS: usize = 64;

/// Scratch memory of [`Cuda`](crate::Cuda)'s ops. It grows to what a call needs and is kept for the next.
#[derive(Debug, Default)]
pub struct Workspace {
    scratch: Option<(Memory, usize)>,
    tables: Vec<SpanTable>,
    /// Tables of steps: one per number of spans, so the graph of a step fits all batches of its shape.
    step_tables: Vec<SpanTable>,
    step: Option<Step>,
    graphs: Vec<(Vec<RecordedLaunch>, Box<dyn Graph>)>,
    /// Dropped last: graphs must not outlive it.
    device: Option<Arc<Device>>,
}

/// A step whose launches are being collected. Memory that is freed meanwhile, here or by the caller, stays allocated.
#[derive(Debug)]
struct Step {
    launches: Vec<RecordedLaunch>,
    /// The tables that it has used so far, by cut and number of spans: they must not be overwritten.
    tables: Vec<(usize, usize)>,
    open: OpenStep,
}

/// Ends the collecting of launches, even if the caller's code panics.
struct Collecting<'a>(&'a mut Workspace);

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.0.step = None;
    }
}

impl Workspace {
    /// Forgets what belongs to another device. A step stays on its own.
    fn on(&mut self, device: &Arc<Device>, op: &'static str) -> Result<()> {
        if let Some(step) = &self.step {
            return match step.open.device().id() == device.id() {
                true => Ok(()),
                false => Err(Error::argument(
                    op,
                    "workspace",
                    "one that collects no step, or a step of the backend that was called",
                    "one that collects a step of another backend",
                )),
            };
        }
        if self.device.as_ref().is_none_or(|own| own.id() != device.id()) {
            *self = Self { device: Some(device.clone()), ..Self::default() };
        }
        Ok(())
    }

    /// The address of `elements` numbers of scratch memory, which hold anything.
    pub(in crate::cuda) fn scratch(
        &mut self,
        device: &Arc<Device>,
        op: &'static str,
        elements: usize,
    ) -> Result<u64> {
        self.on(device, op)?;
        match &self.scratch {
            Some((memory, size)) if *size >= elements => Ok(memory.address()),
            _ => {
                let memory = Memory::of::<f32>(device, op, elements)?;
                let address = memory.address();
                self.scratch = Some((memory, elements));
                Ok(address)
            }
        }
    }

    /// The spans of a batch on the device. They are copied there once for all calls that follow each other.
    pub(in crate::cuda) fn spans(
        &mut self,
        device: &Arc<Device>,
        op: &'static str,
        batch: &Batch,
        cut: usize,
    ) -> Result<Spans> {
        self.on(device, op)?;
        let is_it = |table: &SpanTable| table.cut == cut && table.id == batch.id();
        if let Some(step) = &mut self.step {
            if let Some(table) = self.step_tables.iter().find(|table| is_it(table)) {
                step.tables.push((cut, table.spans.count));
                return Ok(table.spans);
            }
            let spans = cut_into_spans(batch, cut);
            if !step.tables.contains(&(cut, spans.len())) {
                step.tables.push((cut, spans.len()));
                let fits = |table: &SpanTable| table.cut == cut && table.spans.count == spans.len();
                let place = match self.step_tables.iter().position(fits) {
                    Some(place) => place,
                    None => {
                        self.step_tables.push(SpanTable::new(device, op, spans.len(), cut)?);
                        self.step_tables.len() - 1
                    }
                };
                self.step_tables[place].fill(batch, &spans)?;
                return Ok(self.step_tables[place].spans);
            }
        }
        let table = match self.tables.iter().position(is_it) {
            Some(found) => self.tables.remove(found),
            None => {
                let spans = cut_into_spans(batch, cut);
                let mut table = SpanTable::new(device, op, spans.len(), cut)?;
                table.fill(batch, &spans)?;
                if self.tables.len() >= TABLES {
                    self.tables.remove(0);
                }
                table
            }
        };
        let spans = table.spans;
        self.tables.push(table); // the one used last is dropped last
        Ok(spans)
    }

    /// Runs a kernel, or keeps it for the end of the step that is being collected.
    pub(in crate::cuda) fn launch(
        &mut self,
        device: &Arc<Device>,
        op: &'static str,
        launch: &Launch<'_>,
    ) -> Result<()> {
        self.on(device, op)?;
        let Some(step) = &mut self.step else { return device.launch(launch) };
        step.launches.push(RecordedLaunch::new(launch));
        Ok(())
    }

    /// Whether launches are kept for later, so the host cannot wait for one.
    pub(in crate::cuda) fn in_step(&self) -> bool {
        self.step.is_some()
    }

    /// Collects the launches of `ops` and runs them as one graph. If the same launches have been recorded before, that
    /// graph is replayed. Launches are compared in full, so a graph is never replayed for memory, sizes or weights
    /// other than those it was made for.
    pub(in crate::cuda) fn step<E: From<Error>>(
        &mut self,
        device: &Arc<Device>,
        ops: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.on(device, "step")?;
        if self.step.is_some() {
            return ops(self);
        }
        let open = OpenStep::new(device);
        self.step = Some(Step { launches: Vec::new(), tables: Vec::new(), open });
        let collecting = Collecting(self);
        ops(&mut *collecting.0)?;
        let collected = collecting.0.step.take();
        drop(collecting);
        // `open` lives until the launches have been submitted
        let Some(Step { launches, open: _open, .. }) = collected else { return Ok(()) };
        if launches.is_empty() {
            return Ok(());
        }
        match self.graphs.iter().position(|(recorded, _)| *recorded == launches) {
            Some(found) => {
                let found = self.graphs.remove(found);
                self.graphs.push(found);
            }
            None => {
                let borrowed: Vec<Launch<'_>> = launches.iter().map(RecordedLaunch::launch).collect();
                let graph = device.record(&borrowed)?;
                if self.graphs.len() >= GRAPHS {
                    self.graphs.remove(0);
                }
                self.graphs.push((launches, graph));
            }
        }
        let (_, graph) = &self.graphs[self.graphs.len() - 1];
        Ok(graph.replay()?)
    }
}

#[cfg(all(test, mamba_executor))]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::cuda::{Cuda, args::WHOLE};

    /// Two batches of one shape in a step: the second has no place of its shape, and a table of its own.
    #[test]
    fn tables_of_steps_do_not_pile_up() {
        let cuda = Cuda::builder().executor().build().unwrap();
        let mut workspace = Workspace::default();
        for _ in 0..2 * TABLES {
            let two = |workspace: &mut Workspace| {
                let tables =
                    [(); 2].map(|()| workspace.spans(&cuda.device, "test", &Batch::single(3), WHOLE));
                let [first, second] = tables.map(|table| table.unwrap().address);
                assert_ne!(first, second);
                Ok(())
            };
            cuda.step::<Error>(&mut workspace, two).unwrap();
        }
        assert_eq!((workspace.tables.len(), workspace.step_tables.len()), (TABLES, 1));
    }
}
