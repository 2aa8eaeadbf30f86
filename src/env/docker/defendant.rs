//! A stranger's program before any trial: made, if it has to be, and in a container of its own, to hear who it is.
//!
//! Deliberately absent: trials, where it runs beside a client.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::process::Command;

use super::backends;
use super::command::{CommandError, run};
use super::container::{Role, labels};
use super::engine::Engine;
use super::images;
use super::launch::FOLDER;
use crate::adapter::misdeed::Kept;
use crate::adapter::{AdapterLock, Settings, Spec};
use crate::lock::runtime::TokioRuntime;

/// A compiler that first gets all that it needs, on a laden machine.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// Makes the program, where its settings say how. What is up to date is the business of the command that they name.
///
/// # Errors
/// The command is not there, or failed.
pub async fn build(settings: &Settings, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    let [program, arguments @ ..] = settings.build.as_slice() else { return Ok(()) };
    progress(&format!("making the program of {} (`{}`)", settings.name, settings.build.join(" ")));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&settings.folder);
    match run(&mut command, BUILD_LIMIT).await {
        Ok(_) => Ok(()),
        Err(CommandError::Missing { .. }) => bail!(
            "the program of {} cannot be made: `{program}`, which its settings name under `build`, is not installed here",
            settings.name
        ),
        Err(why) => bail!("the program of {} could not be made in {}: {why}", settings.name, settings.folder.display()),
    }
}

/// The settings with what the program says that its lock offers. Its image is built if it is missing.
///
/// # Errors
/// Docker cannot be used, or the program did not introduce itself.
pub async fn introduced(settings: Settings) -> anyhow::Result<Settings> {
    let engine = Engine::connect().await?;
    images::ensure(&engine, backends::always(), &|_| {}).await?;
    let image = images::ensure_for(&engine, &settings, &|_| {}).await?;
    let inner = Spec {
        command: settings.command.clone(),
        folder: None,
        backend: settings.servers.backend.name().to_owned(),
        servers: vec!["127.0.0.1:1".to_owned(); settings.servers.count as usize],
        lease: settings.lease(Duration::from_secs(1)),
        client: 1,
    };
    let mut command: Vec<String> =
        ["docker", "run", "--rm", "--interactive", "--network", "none", "--user", "65534:65534"]
            .map(str::to_owned)
            .into();
    for (name, value) in labels(Role::Helper, None, None) {
        command.extend(["--label".to_owned(), format!("{name}={value}")]);
    }
    command.extend(["--volume".to_owned(), format!("{}:{FOLDER}:ro", settings.folder.display())]);
    command.extend(["--workdir".to_owned(), FOLDER.to_owned(), "--entrypoint".to_owned(), String::new()]);
    for (name, value) in inner.environment() {
        command.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    command.push(image);
    command.extend(settings.command.iter().cloned());
    let spec = Spec { command, ..inner };
    let runtime = Arc::new(TokioRuntime::from_entropy());
    let kept = Arc::new(Kept::default());
    let lock = AdapterLock::open(spec, String::new(), None, runtime, kept).await;
    let shown = settings.command.join(" ");
    let lock = match lock {
        Ok(lock) => lock,
        Err(why) => {
            // The long command of Docker's is nothing that its author wrote.
            let why = why.split("` ").nth(1).unwrap_or(&why).to_owned();
            return Err(anyhow!("`{shown}` {why}"));
        }
    };
    let hello = lock.hello().clone();
    lock.close().await;
    if hello.name.is_empty() {
        bail!("`{shown}` introduced itself without a name");
    }
    Ok(Settings { capabilities: hello.capabilities, ..settings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::settings::load;

    async fn built(how: &str) -> (tempfile::TempDir, Result<(), String>) {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("backend = \"redis:1\"\ncommand = [\"./lock\"]\n{how}");
        std::fs::write(folder.path().join("settings.toml"), text).unwrap();
        let settings = load(folder.path()).unwrap();
        let told = build(&settings, &|_| {}).await.map_err(|error| error.to_string());
        (folder, told)
    }

    #[tokio::test]
    async fn a_program_is_made_in_its_folder_or_the_reason_told() {
        let (folder, told) = built("build = [\"sh\", \"-c\", \"echo made > lock\"]").await;
        assert_eq!(told, Ok(()));
        assert_eq!(std::fs::read_to_string(folder.path().join("lock")).unwrap(), "made\n");
        assert_eq!(built("").await.1, Ok(()), "nothing to make");
        let (_, failed) = built("build = [\"sh\", \"-c\", \"echo no such type; exit 1\"]").await;
        let failed = failed.unwrap_err();
        assert!(failed.contains("could not be made") && failed.contains("  no such type"), "{failed}");
        let (_, missing) = built("build = [\"no-such-compiler\"]").await;
        let missing = missing.unwrap_err();
        assert!(missing.contains("`no-such-compiler`") && missing.contains("not installed"), "{missing}");
    }
}
