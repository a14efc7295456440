//! One allocator for the whole process.

use std::fs;

use crate::{harness::run, origin::Origin, sidecar::Sidecar};

#[test]
fn the_allocator_of_the_c_library_is_replaced() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        assert_eq!(sidecar.client.get("/x").send().await.status, 200);

        // The C library's takes its first memory by brk(2), which shows as this; mimalloc never does.
        let maps = fs::read_to_string(format!("/proc/{}/maps", sidecar.running.id())).unwrap();
        let heap = maps.lines().find(|line| line.ends_with("[heap]"));
        assert_eq!(heap, None);
    });
}
