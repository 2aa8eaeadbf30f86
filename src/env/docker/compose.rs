//! The only caller of Compose, in whichever of its two forms is installed.
//!
//! Deliberately absent: taking the cluster down. That goes by label through the daemon (`cluster.rs`): it also finds
//! the containers of a run, and works with a Compose file that has changed since, or with no Compose at all.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::cluster_name::cluster;
use super::command::{CommandError, run};
use super::engine::Engine;
use super::files;
use super::settings::{SUBNET_VARIABLE, Settings, Wanted};

/// Long enough for a slow disk; a Compose that takes longer hangs.
const UP_LIMIT: Duration = Duration::from_secs(120);
/// Compose v1 is a Python program of many files: on a laden machine whose cache is cold it takes over 20 s to say its
/// version.
const PROBE_LIMIT: Duration = Duration::from_secs(90);

/// Why Compose did not bring the cluster up.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Neither form is installed.
    #[error(
        "Docker Compose is not installed: install it (Debian: the package docker-compose; elsewhere: the plugin \
         docker-compose-plugin or Docker Desktop), or use --env sim"
    )]
    Missing,
    /// The network's addresses belong to somebody else.
    #[error(
        "the subnet {subnet} is in use by another Docker network: choose another with {SUBNET_VARIABLE}, as in \
         {SUBNET_VARIABLE}=172.30.58"
    )]
    SubnetTaken {
        /// The subnet.
        subnet: String,
    },
    /// Anything else it said.
    #[error("Compose could not start the cluster: {0}")]
    Command(#[from] CommandError),
}

/// Creates and starts these servers of the settings, anew where they are there. No others: Compose v1 would replace
/// them, though nothing of them has changed.
pub async fn up(engine: &Engine, settings: &Settings, lacking: &[Wanted], folder: &Path) -> Result<(), ComposeError> {
    let mut command = detect().await?;
    // Volumes are made anew with their containers: Compose v1 otherwise hands old ones on in a way that keeps them from
    // being removed with the container later.
    command
        .args(["--project-name", cluster(), "--file", files::COMPOSE, "up"])
        .args(["--detach", "--no-build", "--renew-anon-volumes"])
        // By name: those that not every cluster has are in a profile, and are left out otherwise.
        .args(lacking.iter().map(Wanted::service))
        .current_dir(folder)
        .env("DOCKER_HOST", engine.host());
    settings.export(&mut command, folder);
    run(&mut command, UP_LIMIT).await.map(drop).map_err(|error| explain(error, settings))
}

/// The version of Compose that would be used.
///
/// # Errors
/// There is none.
pub async fn version() -> Result<String, ComposeError> {
    let said = run(detect().await?.args(["version", "--short"]), PROBE_LIMIT).await?;
    Ok(said.trim().to_owned())
}

/// The plugin of the docker command (v2) if there, else the program of its own (v1, or v2 as Debian packs it).
async fn detect() -> Result<Command, ComposeError> {
    let mut plugin = Command::new("docker");
    plugin.args(["compose", "version"]);
    if run(&mut plugin, PROBE_LIMIT).await.is_ok() {
        let mut command = Command::new("docker");
        command.arg("compose");
        return Ok(command);
    }
    match run(Command::new("docker-compose").arg("version"), PROBE_LIMIT).await {
        Ok(_) => Ok(Command::new("docker-compose")),
        Err(CommandError::Missing { .. }) => Err(ComposeError::Missing),
        Err(error) => Err(error.into()),
    }
}

fn explain(error: CommandError, settings: &Settings) -> ComposeError {
    match &error {
        // The daemon's words, in 20.10 and 28.
        CommandError::Failed { output, .. } if output.contains("Pool overlaps with other one") => {
            ComposeError::SubnetTaken { subnet: settings.subnet() }
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlapping_subnet_is_explained() {
        let settings = Settings::from_lookup(None, |_| None).unwrap();
        let output = "  Pool overlaps with other one on this address space".to_owned();
        let error = explain(CommandError::Failed { line: "docker-compose up".into(), output }, &settings).to_string();
        assert!(error.contains("172.30.57.0/24") && error.contains("FENCEPOST_SUBNET_PREFIX="), "{error}");
    }
}
