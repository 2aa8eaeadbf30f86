//! What a server's role works with, and how it ends.

use super::io::Output;
use super::log::Disk;
use super::replica::Replica;
use super::settings::Settings;
use crate::ids::NodeId;
use crate::time::Nanos;

/// A role ends: why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abdicate(pub &'static str);

/// What the roles work with.
pub(super) struct Local<'a> {
    pub id: NodeId,
    pub members: &'a [NodeId],
    pub settings: &'a Settings,
    pub now: Nanos,
    pub disk: &'a mut Disk,
    pub replica: &'a mut Replica,
    pub out: &'a mut Vec<Output>,
}
