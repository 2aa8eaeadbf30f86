//! Real servers in containers.
//!
//! [`cluster`] is the way in: it brings the servers up, says how they are, and takes them down. [`backends`] has what
//! differs from one kind of server to another, and is the only part that knows any by name. Below them: [`engine`] (the
//! Docker daemon), [`container`] (the project's own), [`images`] and [`files`] (what they are made of), [`compose`]
//! (the only caller of Compose), [`settings`] and [`cluster_name`] (what the environment may choose), [`abilities`]
//! (what the machine can do).
//!
//! [`run`] puts locks on trial in it: one [`trial`] per lock, whose containers ([`client`], [`resource`]) report to the
//! [`control_server`] in [`messages`]. [`faults`] hurts them, [`netns`] their links, [`clock_page`] moves a process's
//! clock, `clock_reading` is what is seen of one, `known` is what is known of clients from outside, [`proxy`] reads
//! their requests on the way (`steps`: what those tell of a program), `outside` sees
//! what others do (all but `own_requests`), [`external`] has lock servers that are not ours. [`journal`], [`heal`] and
//! [`watchdog`] see to it that nothing stays hurt, [`cluster_lock`] and [`run_lock`] that runs don't meet.
//!
//! No code here touches a container without the project's label.

pub mod abilities;
mod answers;
pub mod backends;
pub mod client;
pub mod clock_page;
pub mod clock_reading;
mod clocks;
pub mod cluster;
pub mod cluster_lock;
pub mod cluster_name;
mod command;
pub mod compose;
pub mod container;
pub mod control_client;
pub mod control_server;
pub mod defendant;
pub mod engine;
pub mod external;
pub mod faults;
pub mod files;
pub mod heal;
pub mod http;
pub mod images;
pub mod journal;
mod known;
mod launch;
pub mod messages;
pub mod netns;
mod outside;
mod own_requests;
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
