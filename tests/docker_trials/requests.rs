//! What is done to single requests on real servers, and what clients and servers saw of it.

use fencepost::history::F;

use crate::harness::{check, figure, run, turn};

#[test]
fn connections_cut_after_a_request_break_no_lock() {
    let _turn = turn();
    let (verdict, histories) = run("cut-after-acquire");
    assert_eq!(histories.len(), 3);
    for (lock, history) in &histories {
        assert_eq!(check(&verdict, lock, "coverage")["verdict"], "valid", "{lock}");
        assert!(figure(&verdict, lock, "coverage", "strikes-with-effect") >= 3.0, "{lock}");
        let heals = history.ops.iter().filter(|op| op.f == F::Heal).filter_map(|op| op.fault.as_ref());
        let struck: u64 = heals.flat_map(|event| &event.probes).filter_map(|probe| probe.struck).sum();
        println!("{lock}: {struck} requests struck");
    }
}
