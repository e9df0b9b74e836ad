//! What the host asks of the executor.

use super::*;
use crate::cuda::driver::interface::Graph;

fn executor() -> Executor {
    Executor::new(Check::Checked).expect("an executor")
}

#[track_caller]
fn expect_failure<T: std::fmt::Debug>(result: Result<T>, operation: &str, word: &str) {
    match result {
        Err(Error::Device { operation: found, reason }) => {
            assert_eq!(found, operation);
            assert!(reason.contains(word), "{reason}");
        }
        other => panic!("expected a failure of {operation}, found {other:?}"),
    }
}

#[test]
fn memory_is_aligned_and_apart() {
    let executor = executor();
    let addresses: Vec<u64> = [1, 4, 256, 1000].map(|bytes| executor.alloc(bytes).expect("memory")).into();
    assert!(addresses.iter().all(|address| address % 256 == 0));
    executor.zero(addresses[3], 1000).expect("zeros");
    let mut host = [1u8; 1000];
    executor.download(addresses[3], &mut host).expect("a download");
    assert_eq!(host, [0; 1000]);
    for address in addresses {
        executor.free(address);
    }
}

#[test]
fn too_much_memory_is_an_error() {
    for bytes in [usize::MAX, usize::MAX / 2, 1 << 40] {
        assert!(matches!(executor().alloc(bytes), Err(Error::OutOfMemory { .. })));
    }
}

#[test]
fn copies_stay_within_an_array() {
    let executor = executor();
    let address = executor.alloc(64).expect("memory");
    expect_failure(executor.upload(&[0; 65], address), "upload", "outside every array");
    expect_failure(executor.upload(&[0; 64], address + 4), "upload", "outside every array");
    expect_failure(executor.zero(0, 4), "zero", "outside every array");
    expect_failure(executor.download(address - 4, &mut [0; 4]), "download", "outside every array");
    executor.upload(&[7; 64], address).expect("an upload");
    executor.free(address);
    expect_failure(executor.download(address, &mut [0; 4]), "download", "outside every array");
}

#[test]
fn launches_that_cannot_be() {
    let executor = executor();
    let args = [0u8; size_of::<TestArgs>()];
    let right =
        Launch { kernel: "test_global_right", grid: [1; 3], block: [1; 3], shared_bytes: 0, args: &args };
    executor.launch(&right).expect("a launch that does nothing");
    let refused = [
        (Launch { kernel: "test_of_nothing", ..right }, "no such kernel"),
        (Launch { args: &args[8..], ..right }, "takes 24 bytes of arguments"),
        (Launch { grid: [1, 0, 1], ..right }, "cannot be launched"),
        (Launch { grid: [1, 65536, 1], ..right }, "cannot be launched"),
        (Launch { block: [0, 1, 1], ..right }, "cannot be launched"),
        (Launch { block: [1024, 2, 1], ..right }, "cannot be launched"),
        (Launch { block: [1, 1, 65], ..right }, "cannot be launched"),
    ];
    for (launch, word) in refused {
        expect_failure(executor.launch(&launch), launch.kernel, word);
    }
}

#[test]
fn a_device_goes_on_after_a_report() {
    let executor = executor();
    let wrong = launch(&executor, "test_barrier_after_exit", block(128), &numbers(128), 128);
    assert!(wrong.is_err());
    launch(&executor, "test_barrier_right", block(128), &numbers(128), 128).expect("a right launch");
}

#[test]
fn recorded_launches_run_at_each_replay() {
    let executor = executor();
    let args = TestArgs {
        input: executor.alloc(128).expect("memory"),
        output: executor.alloc(128).expect("memory"),
        count: 32,
    };
    let graph: Box<dyn Graph> = {
        let args_bytes = bytemuck::bytes_of(&args).to_vec();
        let (grid, block) = ([1, 1, 1], [32, 1, 1]);
        let kernel = "test_global_right";
        executor
            .record(&[Launch { kernel, grid, block, shared_bytes: 0, args: &args_bytes }])
            .expect("a graph")
    };
    for value in [1.0f32, 2.0] {
        let mut host = [value; 32];
        executor.upload(bytemuck::cast_slice(&host), args.input).expect("an upload");
        graph.replay().expect("a replay");
        host.fill(0.0);
        executor.download(args.output, bytemuck::cast_slice_mut(&mut host)).expect("a download");
        assert_eq!(host, [value; 32]);
    }
}

#[test]
fn several_host_threads_share_a_device() {
    let executor = executor();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    launch(&executor, "test_rotate_right", block(64), &numbers(64), 64).expect("no fault");
                }
            });
        }
    });
}
