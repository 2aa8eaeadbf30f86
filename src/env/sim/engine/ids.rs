//! What machines, processes and connections are called, and whether a machine runs.

/// A machine, by its place in the list.
pub type HostId = usize;

/// One incarnation of the program on a machine: a crash ends it, a restart begins the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The machine.
    pub host: HostId,
    /// Counts the machine's crashes.
    pub incarnation: u32,
}

/// Whether a machine's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs, or is frozen.
    Running,
    /// The process is gone, its kernel answers for it.
    Killed,
    /// The machine is off: nobody answers.
    Off,
}

/// A connection, by its place in the list. Never used again within a run.
pub type ConnectionId = u32;

/// From the client to the server; also the client's end.
pub const UP: u8 = 0;
/// From the server to the client; also the server's end.
pub const DOWN: u8 = 1;
