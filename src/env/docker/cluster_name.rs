//! Which of a daemon's clusters this process works with.
//!
//! Chosen once, before anything else, as a daemon is by `DOCKER_HOST`: by `--cluster NAME`, or `FENCEPOST_CLUSTER`,
//! which the watchdog and Compose are given too. Everything that must not be shared follows from the name: the label,
//! the network and Compose project, the containers' names, the state folder with journal and clocks, and by default the
//! subnet and the ports. Images are shared. Deliberately absent: which clusters there are; their labels tell.

use std::sync::OnceLock;

/// The variable that names the cluster.
pub const VARIABLE: &str = "FENCEPOST_CLUSTER";
/// The cluster of whoever names none, and what all names begin with.
const DEFAULT: &str = "fencepost";
/// With room for a container's longest ending in the 63 letters of a host name.
const LONGEST: usize = 20;

static CHOSEN: OnceLock<String> = OnceLock::new();

/// Why a name cannot be a cluster's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the letters of a host name.
    #[error(
        "`{0}` cannot name a cluster: give up to {LONGEST} small letters, digits and hyphens, a letter first, such as \
         `nightly`"
    )]
    Letters(String),
    /// This process has another already.
    #[error("this process already works with the cluster {0}")]
    Chosen(String),
}

/// Chooses the cluster called `name`, for all that this process does.
///
/// # Errors
/// The name cannot be one, or another was chosen or used before.
pub fn choose(name: &str) -> Result<(), NameError> {
    let full = full(name)?;
    let chosen = CHOSEN.get_or_init(|| full.clone());
    if *chosen == full { Ok(()) } else { Err(NameError::Chosen(chosen.clone())) }
}

/// The name of this process's cluster: `fencepost`, or `fencepost-NAME`. It is the value of the project's label, the
/// Compose project and the network, and the names of containers begin with it.
pub fn cluster() -> &'static str {
    CHOSEN.get_or_init(|| DEFAULT.to_owned())
}

/// What was chosen: nothing for the cluster of whoever names none.
pub fn chosen() -> Option<&'static str> {
    chosen_of(cluster())
}

fn chosen_of(full: &str) -> Option<&str> {
    full.strip_prefix(DEFAULT)?.strip_prefix('-')
}

fn full(name: &str) -> Result<String, NameError> {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= LONGEST
        && name.chars().all(fits)
        && !name.ends_with('-');
    match name {
        DEFAULT => Ok(DEFAULT.to_owned()),
        name if is_name => Ok(format!("{DEFAULT}-{name}")),
        name => Err(NameError::Letters(name.to_owned())),
    }
}

/// A number from 1 to `most` for a name, always the same; 0 for the cluster of whoever names none. For what two
/// clusters of one machine may not share, and has to be guessed: whoever meets another's is told which variable
/// chooses.
pub(super) fn place(name: Option<&str>, most: u16) -> u16 {
    // FNV-1a: short, and stable over versions of everything.
    let hash = |name: &str| {
        name.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    name.map_or(0, |name| (hash(name) % u64::from(most)) as u16 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_host_and_of_nobody_else() {
        assert_eq!(full("nightly").unwrap(), "fencepost-nightly");
        assert_eq!((full("fencepost").unwrap().as_str(), chosen_of("fencepost")), ("fencepost", None));
        assert_eq!(chosen_of("fencepost-ci-2"), Some("ci-2"));
        for wrong in ["", "Nightly", "2nd", "a_b", "a b", "-a", "a-", "a/../b", "abcdefghijklmnopqrstu", "é"] {
            let error = full(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")) && error.contains("such as"), "{error}");
        }
    }

    #[test]
    fn a_process_works_with_one_cluster() {
        // The tests' own.
        assert_eq!(cluster(), "fencepost");
        assert_eq!(choose("fencepost"), Ok(()));
        let error = choose("other").unwrap_err();
        assert!(error.to_string().contains("already works with the cluster fencepost"), "{error}");
    }

    #[test]
    fn names_have_places_of_their_own() {
        assert_eq!(place(None, 100), 0);
        let places: Vec<u16> = ["a", "b", "nightly", "ci"].map(|name| place(Some(name), 190)).to_vec();
        assert!(places.iter().all(|place| (1..=190).contains(place)), "{places:?}");
        let different: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(different.len(), 4, "{places:?}");
        assert_eq!(places[0], place(Some("a"), 190), "the same in every process");
    }
}
