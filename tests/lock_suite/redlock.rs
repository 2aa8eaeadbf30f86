//! The bodies about Redlock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fencepost::ids::{FencingToken, LockName};
use fencepost::lock::{
    AcquireError, AcquireOptions, AttemptError, GuardState, LostReason, PausePoint, RedlockSettings, ReleaseOutcome,
    Tokens,
};
use fencepost::phase::Phase;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Client, LONG, RedlockFixture, SOON};

/// Patient with nodes: these bodies are about nodes that refuse, not about slow ones.
fn settings(ttl: Duration) -> RedlockSettings {
    RedlockSettings { ttl, node_timeout: Duration::from_secs(2), ..RedlockSettings::default() }
}

pub async fn a_stopped_minority_does_not_matter(fixture: &impl RedlockFixture) {
    let name = LockName::new("minority");
    let ((first, _), (second, _)) = (fixture.redlock(0..2, settings(LONG)), fixture.redlock(0..2, settings(LONG)));
    let held = first.acquire(&name, SOON).await.unwrap();
    assert!(second.try_acquire(&name).await.unwrap().is_none());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_eq!(second.acquire(&name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn without_a_quorum_the_stopped_are_named(fixture: &impl RedlockFixture) {
    let name = LockName::new("no-quorum");
    let (client, stopped) = fixture.redlock(0..3, settings(LONG));
    match client.try_acquire(&name).await.map(|held| held.is_some()) {
        Err(AcquireError::DeadlineExceeded { last: AttemptError::NoQuorum { votes, needed, failures }, .. }) => {
            assert!(votes <= 2 && needed == 3, "{votes} of {needed}");
            assert_eq!(stopped.len(), 3);
            assert!(stopped.iter().all(|node| failures.contains(node)), "{stopped:?}: {failures}");
        }
        other => panic!("{other:?}"),
    }
    // Two votes were won and taken back: they are no obstacle to one who sees all nodes.
    let (other, _) = fixture.redlock(0..0, settings(LONG));
    assert_eq!(other.acquire(&name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn a_release_after_the_ttl_says_so(fixture: &impl RedlockFixture) {
    let name = LockName::new("expired");
    let ttl = Duration::from_millis(500);
    let (client, _) = fixture.redlock(0..0, settings(ttl));
    let held = client.acquire(&name, SOON).await.unwrap();
    client.sleep(ttl + ttl / 2).await;
    assert_eq!(held.state(), GuardState::Lost(LostReason::Expired));
    assert_eq!(held.lost().await, LostReason::Expired);
    assert_eq!(held.release().await, ReleaseOutcome::AlreadyExpired);
}

pub async fn a_release_after_another_has_it_says_so(fixture: &impl RedlockFixture) {
    let name = LockName::new("taken-over");
    let (first, _) = fixture.redlock(0..0, settings(Duration::from_millis(500)));
    let (second, _) = fixture.redlock(0..0, settings(LONG));
    let stale = first.acquire(&name, SOON).await.unwrap();
    let held = second.acquire(&name, SOON).await.unwrap();
    assert!(!stale.is_valid(), "two valid holds at once");
    assert_eq!(stale.release().await, ReleaseOutcome::TakenOver);
    assert!(held.is_valid());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

/// Three clients that each reach three masters of five, so that any two have one, two or all of them in common.
fn of_three_majorities(fixture: &impl RedlockFixture) -> [Client; 3] {
    let settings = RedlockSettings { tokens: Tokens::Quorum, ..settings(LONG) };
    [0..2, 3..5, 2..4].map(|stopped| fixture.redlock(stopped, settings.clone()).0)
}

/// Gets the lock and gives it back: the grant's token.
pub async fn turn(client: &Client, name: &LockName) -> FencingToken {
    let held = client.acquire(name, SOON).await.unwrap();
    let token = held.token().expect("it has a token");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    token
}

/// The master that two majorities share need not be the one with the highest count: what the others say differs, and has
/// to be made to agree.
pub async fn tokens_rise_through_any_majority(fixture: &impl RedlockFixture) {
    let name = LockName::new("majorities");
    let clients = of_three_majorities(fixture);
    let mut tokens = Vec::new();
    for _ in 0..4 {
        for client in [1, 1, 1, 0, 2, 2, 0, 1, 2, 0] {
            tokens.push(turn(&clients[client], &name).await.0);
        }
    }
    assert!(tokens.is_sorted_by(|token, next| token < next), "{tokens:?}");
}

/// Stops a client when its votes are in, once, until it is let go.
struct VotesIn(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

impl PausePoint for VotesIn {
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ends = if phase == Phase::VotesIn { self.0.lock().unwrap().take() } else { None };
            if let Some((stopped, go)) = ends {
                let _ = stopped.send(());
                let _ = go.await;
            }
        })
    }
}

/// Votes that differ, and are gone before they were made to agree: another client has the lock by then, and has, or will
/// have, the token that the first would write back.
pub async fn a_token_takes_votes_that_last(fixture: &impl RedlockFixture) {
    let name = LockName::new("votes-that-end");
    let [first, ahead, second] = of_three_majorities(fixture);
    for _ in 0..3 {
        turn(&ahead, &name).await;
    }
    let ((stopped, is_stopped), (go, goes)) = (oneshot::channel(), oneshot::channel());
    let attempt = first.run({
        let (client, name) = (first.clone(), name.clone());
        let pause_point = Arc::new(VotesIn(Mutex::new(Some((stopped, goes)))));
        let options = AcquireOptions { wait: Duration::ZERO, pause_point: Some(pause_point) };
        async move { client.lock.acquire(&name, &options).await.map(|guard| guard.token()) }
    });
    is_stopped.await.expect("the votes come in");
    fixture.revoke(&name).await;
    let before = turn(&second, &name).await;
    go.send(()).expect("it waits");
    match attempt.await {
        Err(AcquireError::DeadlineExceeded { last: AttemptError::Contended { votes: 0, .. }, .. }) => {}
        other => panic!("{other:?}, after {before:?}"),
    }
    assert!(turn(&first, &name).await > before);
}
