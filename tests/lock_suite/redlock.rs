//! The bodies about Redlock.

use std::time::Duration;

use fencepost::ids::LockName;
use fencepost::lock::{AcquireError, AttemptError, GuardState, LostReason, RedlockSettings, ReleaseOutcome};

use super::{LONG, RedlockFixture, SOON};

/// Patient with nodes: these bodies are about nodes that refuse, not about slow ones.
fn settings(ttl: Duration) -> RedlockSettings {
    RedlockSettings { ttl, node_timeout: Duration::from_secs(2), ..RedlockSettings::default() }
}

pub async fn a_stopped_minority_does_not_matter(fixture: &impl RedlockFixture) {
    let name = LockName::new("minority");
    let ((first, _), (second, _)) = (fixture.redlock(2, settings(LONG)), fixture.redlock(2, settings(LONG)));
    let held = first.acquire(&name, SOON).await.unwrap();
    assert!(second.try_acquire(&name).await.unwrap().is_none());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_eq!(second.acquire(&name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn without_a_quorum_the_stopped_are_named(fixture: &impl RedlockFixture) {
    let name = LockName::new("no-quorum");
    let (client, stopped) = fixture.redlock(3, settings(LONG));
    match client.try_acquire(&name).await.map(|held| held.is_some()) {
        Err(AcquireError::DeadlineExceeded { last: AttemptError::NoQuorum { votes, needed, failures }, .. }) => {
            assert!(votes <= 2 && needed == 3, "{votes} of {needed}");
            assert_eq!(stopped.len(), 3);
            assert!(stopped.iter().all(|node| failures.contains(node)), "{stopped:?}: {failures}");
        }
        other => panic!("{other:?}"),
    }
    // Two votes were won and taken back: they are no obstacle to one who sees all nodes.
    let (other, _) = fixture.redlock(0, settings(LONG));
    assert_eq!(other.acquire(&name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn a_release_after_the_ttl_says_so(fixture: &impl RedlockFixture) {
    let name = LockName::new("expired");
    let ttl = Duration::from_millis(500);
    let (client, _) = fixture.redlock(0, settings(ttl));
    let held = client.acquire(&name, SOON).await.unwrap();
    client.sleep(ttl + ttl / 2).await;
    assert_eq!(held.state(), GuardState::Lost(LostReason::Expired));
    assert_eq!(held.lost().await, LostReason::Expired);
    assert_eq!(held.release().await, ReleaseOutcome::AlreadyExpired);
}

pub async fn a_release_after_another_has_it_says_so(fixture: &impl RedlockFixture) {
    let name = LockName::new("taken-over");
    let (first, _) = fixture.redlock(0, settings(Duration::from_millis(500)));
    let (second, _) = fixture.redlock(0, settings(LONG));
    let stale = first.acquire(&name, SOON).await.unwrap();
    let held = second.acquire(&name, SOON).await.unwrap();
    assert!(!stale.is_valid(), "two valid holds at once");
    assert_eq!(stale.release().await, ReleaseOutcome::TakenOver);
    assert!(held.is_valid());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}
