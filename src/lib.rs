//! fencepost puts distributed locks on trial.
//!
//! Data flows one way, and each room imports only the data of rooms above it:
//!
//! ```text
//! scenario ─► environment (sim | docker) ─► clients + nemesis ─► history ─► checks ─► report
//!                         wired in run.rs, the only file that knows every room
//! ```
//!
//! - Ground, which touches nothing: [`ids`], [`time`] (one monotonic timeline), [`seed`] (named random streams),
//!   [`duration`] (as files have it), [`phase`] (where a client can be stopped), `lock_kind` (how many may hold a lock
//!   at once), `verdict`, `fencing` (what a resource refuses), `word` (words of files as types), `plain` (texts of
//!   others that must not steer a terminal).
//! - [`lock`]: the library that programs use, and the first defendants: Redlock, a ZooKeeper and an etcd lock. Clock,
//!   timers and randomness are handed in. It is all there is without the feature `harness`; `redis`, `zookeeper` and
//!   `etcd` bring the client of one backend each, `settings` the TOML file.
//! - `adapter`: locks that are not of this crate, as programs behind a protocol of JSON lines.
//! - `fault`: faults as values, partitions as set arithmetic. `scenario`: the TOML file, validated.
//! - `defendant`: whoever can stand trial, one file per lock: its keys in a scenario, what it assumes and promises, its
//!   servers, its words. All others ask the lock, and never which it is.
//! - `wire`: what passes between a client and a lock server, cut into requests and recognised by the lock's name.
//! - `hunt`: plans that are drawn, what a lock must bear of them, findings made small.
//! - `history`: what happened, and its file. `workload`: the client loop and the protected resource.
//! - `nemesis`: times faults. `trial`: the course of a trial, the same in every world. `env`: the worlds.
//! - `check`: one file per guarantee, pure functions of a history.
//! - `report`: console, JSON, JUnit, the page of a run and of a comparison, the list of runs. `serve`: shows a folder
//!   of reports to a browser of this machine, read-only. `inspect`: a look at a lock on real servers, apart from all
//!   that.
//!
//! Invariants: a lock never reads an ambient clock; `fail` means that something certainly did not happen; a fault is
//! written down before it is applied, and looked at from both sides; a check never says `valid` of what was not
//! exercised.

#[cfg(feature = "harness")]
#[expect(clippy::disallowed_methods, reason = "speaks with processes, in real time")]
pub mod adapter;
#[cfg(feature = "harness")]
pub mod check;
#[cfg(feature = "harness")]
pub mod cli;
#[cfg(feature = "harness")]
pub mod defendant;
pub mod duration;
#[cfg(feature = "harness")]
pub mod env;
#[cfg(feature = "harness")]
pub mod fault;
#[cfg(feature = "harness")]
pub mod fencing;
#[cfg(feature = "harness")]
pub mod history;
#[cfg(feature = "harness")]
pub mod hunt;
pub mod ids;
#[cfg(feature = "harness")]
#[expect(clippy::disallowed_methods, reason = "looks at real servers, in real time")]
pub mod inspect;
pub mod lock;
#[cfg(feature = "harness")]
pub mod lock_kind;
#[cfg(feature = "harness")]
pub mod nemesis;
#[cfg(feature = "harness")]
pub mod phase;
#[cfg(not(feature = "harness"))]
#[expect(dead_code, reason = "only trials stop a client at its phases")]
mod phase;
#[cfg(feature = "harness")]
pub mod plain;
#[cfg(feature = "harness")]
pub mod report;
#[cfg(feature = "harness")]
#[expect(clippy::disallowed_methods, reason = "says when a run was started")]
pub mod run;
#[cfg(feature = "harness")]
pub mod scenario;
pub mod seed;
#[cfg(feature = "harness")]
pub mod serve;
pub mod time;
#[cfg(feature = "harness")]
mod trial;
#[cfg(feature = "harness")]
pub mod verdict;
#[cfg(feature = "harness")]
pub mod wire;
#[cfg(feature = "harness")]
pub mod word;
#[cfg(feature = "harness")]
pub mod workload;

/// The README's examples, compiled with the documentation's.
#[cfg(all(doctest, feature = "harness"))]
#[doc = include_str!("../README.md")]
struct Readme;
