//! `cluster` and `inspect`: real servers, looked at and looked after.

use fencepost::cli::{ClusterForce, ClusterUp, ClusterVerb, InspectArgs};
use fencepost::env::docker;
use fencepost::ids::LockName;
use fencepost::inspect::{InspectError, servers};
use fencepost::scenario::Backend;

use super::console::{Progress, say};
use super::failure::Failure;

pub async fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let failure = |error: InspectError| match error {
        InspectError::Servers(_) => Failure::own(error),
        _ => Failure::bad_request(error),
    };
    let servers = servers(&args.servers, args.prefix.clone()).map_err(failure)?;
    let name = LockName::new(&args.name);
    if args.release {
        say(servers.release(&name).await.map_err(failure)?.trim_end())?;
    }
    say(servers.look(&name).await.map_err(failure)?.trim_end())?;
    Ok(0)
}

pub async fn cluster(verb: ClusterVerb) -> Result<u8, Failure> {
    let progress = Progress::new();
    let outcome = cluster_verb(verb, &progress).await;
    progress.clear();
    let (text, code) = outcome?;
    say(&text)?;
    Ok(code)
}

pub async fn cluster_verb(verb: ClusterVerb, progress: &Progress) -> Result<(String, u8), Failure> {
    Ok(match verb {
        ClusterVerb::Up(ClusterUp { etcd, force: ClusterForce { force } }) => {
            let backends: &[Backend] = if etcd { &[Backend::Etcd] } else { &[] };
            let cluster = docker::run::up(force, backends, &|message| progress.say(message)).await?;
            (format!("up: {}", cluster.versions), 0)
        }
        ClusterVerb::Status => {
            let status = docker::status::status().await.map_err(Failure::own)?;
            let code = if status.is_ready() { 0 } else { 1 };
            // The helper that tries things out needs the images, and so the first `up`.
            let machine = match docker::abilities::machine().await {
                Ok(machine) => machine.to_string(),
                Err(error) => format!("machine: not tried out: {error:#}\n"),
            };
            (format!("{status}\n{machine}"), code)
        }
        ClusterVerb::Heal(ClusterForce { force }) => {
            let undone = docker::run::heal_all(force).await?;
            (if undone.is_empty() { "nothing to heal".to_owned() } else { undone.join("\n") }, 0)
        }
        ClusterVerb::Down(ClusterForce { force }) => {
            docker::run::down(force).await?;
            ("down".to_owned(), 0)
        }
    })
}
