//! A client's way to the members of a simulated etcd cluster: what [`crate::lock::client::EtcdMembers`] is to a real
//! one.
//!
//! As there each request has a connection to itself until it is answered, and one that was answered is used again; one
//! member is asked at a time, and one that cannot be reached, or whose answer nobody waited for, is not asked next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::FutureExt;
use smol_str::SmolStr;

use super::message::EtcdMessage;
use super::model::messages::Listed;
use super::model::{Answer, Request};
use crate::env::sim::engine::call::Caller;
use crate::env::sim::engine::ids::ConnectionId;
use crate::lock::backend::{EtcdCluster, EtcdKey, EtcdLine, Reply};
use crate::lock::error::EtcdError;

/// The way to all members.
pub struct EtcdLink {
    members: Arc<Members>,
}

struct Members {
    callers: Vec<Caller>,
    state: Mutex<Ways>,
}

#[derive(Default)]
struct Ways {
    /// Which member is asked.
    at: usize,
    /// Connections that nobody uses, by member.
    idle: Vec<(usize, ConnectionId)>,
}

impl EtcdLink {
    /// The way by these callers.
    pub fn new(callers: Vec<Caller>) -> Self {
        Self { members: Arc::new(Members { callers, state: Mutex::default() }) }
    }

    fn ask<T: Send + 'static>(
        &self,
        request: Request,
        read: impl FnOnce(Answer) -> Result<T, EtcdError> + Send + 'static,
    ) -> Reply<T, EtcdError> {
        let members = Arc::clone(&self.members);
        async move {
            let mut asked = Asked::new(members);
            let connection = asked.connected().await?;
            let answer = asked.caller().call(connection, EtcdMessage::Request(request)).await;
            let Some(EtcdMessage::Answer(answer)) = answer else {
                return Err(EtcdError::Unanswered("the connection was closed".to_owned()));
            };
            asked.answered();
            match answer {
                Answer::Error(code, text) => {
                    let error = EtcdError::from_error_reply(code, text);
                    if let EtcdError::Unanswered(_) = error {
                        asked.members.pass(asked.at);
                    }
                    // Of a lease that is there already the one who asked is the owner.
                    if code == 9 { read(Answer::Granted(0)) } else { Err(error) }
                }
                answer => read(answer),
            }
        }
        .boxed()
    }
}

impl Members {
    fn lock(&self) -> MutexGuard<'_, Ways> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has another member asked next than number `at`, unless that was done already.
    fn pass(&self, at: usize) {
        let mut ways = self.lock();
        if ways.at == at {
            ways.at = (at + 1) % self.callers.len().max(1);
        }
    }
}

/// A request to a member. Dropped without an answer, it closes its connection and moves on to the next member.
struct Asked {
    members: Arc<Members>,
    at: usize,
    connection: Option<ConnectionId>,
    is_answered: bool,
}

impl Asked {
    fn new(members: Arc<Members>) -> Self {
        let at = members.lock().at;
        Self { members, at, connection: None, is_answered: false }
    }

    fn caller(&self) -> &Caller {
        &self.members.callers[self.at]
    }

    /// A connection to the member: one that is there, or a new one.
    async fn connected(&mut self) -> Result<ConnectionId, EtcdError> {
        loop {
            let idle = {
                let mut ways = self.members.lock();
                let place = ways.idle.iter().position(|(member, _)| *member == self.at);
                place.map(|place| ways.idle.remove(place).1)
            };
            match idle {
                Some(connection) if self.caller().is_open(connection) => {
                    return Ok(*self.connection.insert(connection));
                }
                Some(_) => {}
                None => {
                    let opening = self.caller().connect().await;
                    let opening = opening.ok_or_else(|| EtcdError::Unreachable("connection refused".to_owned()))?;
                    return Ok(*self.connection.insert(opening.keep()));
                }
            }
        }
    }

    /// Its connection is free for the next one.
    fn answered(&mut self) {
        self.is_answered = true;
        if let Some(connection) = self.connection.take() {
            self.members.lock().idle.push((self.at, connection));
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.caller().close(connection);
        }
        if !self.is_answered {
            self.members.pass(self.at);
        }
    }
}

fn odd(answer: &Answer) -> EtcdError {
    EtcdError::Unanswered(format!("not an answer: {answer:?}"))
}

fn line(answer: Answer) -> Result<EtcdLine, EtcdError> {
    let Answer::Line(listed, revision) = answer else { return Err(odd(&answer)) };
    let key = |Listed { key, created, lease }: Listed| EtcdKey { key: key.to_string(), created, lease };
    Ok(EtcdLine { keys: listed.into_iter().map(key).collect(), revision })
}

impl EtcdCluster for EtcdLink {
    fn name(&self) -> &str {
        "etcd"
    }

    fn grant(&self, lease: i64, ttl: Duration) -> Reply<Duration, EtcdError> {
        self.ask(Request::Grant { lease, seconds: ttl.as_secs() }, move |answer| match answer {
            Answer::Granted(0) => Ok(ttl),
            Answer::Granted(seconds) => Ok(Duration::from_secs(seconds)),
            other => Err(odd(&other)),
        })
    }

    fn keep_alive(&self, lease: i64) -> Reply<Option<Duration>, EtcdError> {
        self.ask(Request::KeepAlive { lease }, |answer| match answer {
            Answer::Alive(seconds) => Ok(seconds.map(Duration::from_secs)),
            other => Err(odd(&other)),
        })
    }

    fn revoke(&self, lease: i64) -> Reply<bool, EtcdError> {
        let revoking = self.ask(Request::Revoke { lease }, |answer| match answer {
            Answer::Revoked => Ok(true),
            other => Err(odd(&other)),
        });
        revoking.map(|revoked| if revoked == Err(EtcdError::NoLease) { Ok(false) } else { revoked }).boxed()
    }

    fn enter(&self, key: &str, lease: i64, prefix: &str) -> Reply<EtcdLine, EtcdError> {
        self.ask(Request::Enter { key: key.into(), lease, prefix: prefix.into() }, line)
    }

    fn line(&self, prefix: &str) -> Reply<EtcdLine, EtcdError> {
        self.ask(Request::Line { prefix: prefix.into() }, line)
    }

    fn deleted(&self, key: &str, from: u64) -> Reply<(), EtcdError> {
        let (members, key) = (Arc::clone(&self.members), SmolStr::from(key));
        async move {
            let at = members.lock().at;
            let caller = &members.callers[at];
            // Closed when this future is done or dropped.
            let Some(opening) = caller.connect().await else {
                members.pass(at);
                return Err(EtcdError::Unreachable("connection refused".to_owned()));
            };
            match caller.call(opening.id(), EtcdMessage::Request(Request::Watch { key, from })).await {
                Some(EtcdMessage::Answer(Answer::Gone)) => Ok(()),
                _ => {
                    members.pass(at);
                    Err(EtcdError::Unanswered("the watch broke off".to_owned()))
                }
            }
        }
        .boxed()
    }

    fn delete(&self, key: &str) -> Reply<bool, EtcdError> {
        self.ask(Request::Delete { key: key.into() }, |answer| match answer {
            Answer::Deleted(was_there) => Ok(was_there),
            other => Err(odd(&other)),
        })
    }
}
