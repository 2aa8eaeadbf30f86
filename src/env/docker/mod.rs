//! Real Redis and ZooKeeper servers in containers.
//!
//! [`cluster`] is the way in: it brings the servers up, says how they are, and takes them down. Below it: [`engine`] (the
//! Docker daemon), [`images`] and [`files`] (what the containers are made of), [`compose`] (the only caller of Compose),
//! [`settings`] and [`cluster_name`] (what the environment may choose), [`abilities`] (what the machine can do), [`wire`] (the few words spoken with servers outside of a lock).
//!
//! [`run`] puts locks on trial in it: one [`trial`] per lock, whose containers ([`client`], [`resource`]) report to the
//! [`hub`] in [`messages`]. [`faults`] hurts them, [`netns`] their links, [`clock_page`] moves a process's clock, `lives`
//! follows clients from one life to the next, [`proxy`] reads their requests on the way (`steps`: what those tell of a program),
//! `announcer` stops them at phases, `persistence` says what a Redis server keeps,
//! `leftovers` asks what servers have when all is over, `outside` sees what others do
//! (all but `doings`), [`given`] has lock servers that are not ours. [`journal`], [`heal`] and
//! [`watchdog`] see to it that nothing stays hurt, [`claim`] and [`run_lock`] that runs don't meet.
//!
//! No code here touches a container without the project's label.

pub mod abilities;
mod announcer;
mod answers;
pub mod claim;
pub mod client;
pub mod clock_page;
mod clocks;
pub mod cluster;
pub mod cluster_name;
mod command;
pub mod compose;
pub mod defendant;
mod doings;
pub mod engine;
pub mod faults;
pub mod files;
pub mod given;
pub mod heal;
pub mod http;
pub mod hub;
pub mod images;
pub mod journal;
mod launch;
mod leftovers;
mod lives;
pub mod member;
pub mod messages;
pub mod netns;
mod outside;
pub mod persistence;
pub mod proxy;
pub mod resource;
pub mod run;
pub mod run_lock;
pub mod settings;
pub mod status;
mod steps;
pub mod tempdir;
pub mod trial;
pub mod watchdog;
pub mod wire;
