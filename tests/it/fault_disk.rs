//! A disk that is full: said so, nothing lost, and it goes on when there is room again.

use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::small_disk::SmallDisk;

#[test]
fn a_full_disk_under_cascades_own_files_stops_a_promotion_before_anything_moves() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let home = pipeline.base().join("small");
    let Some(_disk) = SmallDisk::mount(&home, 1) else { return };
    let tip = pipeline.tip("staging");
    let filler = home.join("filler");
    // As much as goes in; the error at the end is the point.
    let _ = std::fs::write(&filler, vec![0_u8; 2 << 20]);
    let promote = || {
        let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
        command.env("CASCADE_HOME", home.join("cascade"));
        crate::support::output(command, b"")
    };
    let full = promote().expect_code(1);
    assert!(full.stderr.contains("CASCADE_HOME") && full.stderr.contains("hint:"), "{full:?}");
    assert_eq!(pipeline.tip("staging"), tip);
    std::fs::remove_file(&filler).unwrap();
    promote().expect_code(0);
    assert_ne!(pipeline.tip("staging"), tip);
}
