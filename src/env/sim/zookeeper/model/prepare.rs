//! Turns what a client wants into a transaction: the checks that only the leader can make.
//!
//! Checked against the tree as it will be when all proposals before this one are committed. A refusal becomes a
//! transaction, too.

use smol_str::format_smolstr;

use super::messages::{Change, CreateMode, Path, Refusal};
use super::peers::Transaction;
use super::tree::{Tree, parent};

/// The transaction that does what `session` wants.
pub(super) fn prepare(tree: &Tree, session: i64, change: Change) -> Transaction {
    let prepared = match change {
        Change::Create { path, mode } => create(tree, session, path, mode),
        Change::Delete { path } => delete(tree, path),
        Change::CloseSession => Ok(Transaction::CloseSession),
    };
    prepared.unwrap_or_else(Transaction::Error)
}

fn create(tree: &Tree, session: i64, path: Path, mode: CreateMode) -> Result<Transaction, Refusal> {
    let parent = tree.get(parent(&path)).ok_or(Refusal::NoNode)?;
    let (path, ephemeral_owner) = match mode {
        CreateMode::Persistent => (path, 0),
        CreateMode::EphemeralSequential => (format_smolstr!("{path}{:010}", parent.cversion), session),
    };
    if tree.get(&path).is_some() {
        return Err(Refusal::NodeExists);
    }
    if parent.ephemeral_owner != 0 {
        return Err(Refusal::NoChildrenForEphemerals);
    }
    Ok(Transaction::Create { path, ephemeral_owner, cversion: parent.cversion.wrapping_add(1) })
}

fn delete(tree: &Tree, path: Path) -> Result<Transaction, Refusal> {
    match tree.get(&path) {
        _ if path == "/" => Err(Refusal::BadArguments),
        None => Err(Refusal::NoNode),
        Some(node) if !node.children.is_empty() => Err(Refusal::NotEmpty),
        Some(_) => Ok(Transaction::Delete { path }),
    }
}
