//! The `fencepost` command: parses the command line, does what its verb says, turns the result into an exit code.

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use fencepost::adapter;
use fencepost::check;
use fencepost::cli::stdout;
use fencepost::cli::{self, AdapterVerb, Cli, Verb};
use fencepost::env::docker;
use fencepost::ids::ClientId;
use fencepost::report::{self, Conclusion};
use fencepost::run;
use fencepost::scenario;

mod verbs;

use verbs::adapters::{adapter_check, try_out};
use verbs::calibrate::calibrate;
use verbs::check::check_history;
use verbs::cluster::{cluster, inspect};
use verbs::compare::compare;
use verbs::console::{say, tell};
use verbs::failure::{BAD_REQUEST, Failure};
use verbs::hunt::hunt;
use verbs::list::{list, locks};
use verbs::run::{replay, run_all};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no mistakes. If nobody reads, nobody is told.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_REQUEST } else { 0 });
        }
    };
    if let Some(name) = cli.cluster.as_deref().filter(|name| !name.is_empty())
        && let Err(error) = docker::cluster_name::choose(name)
    {
        tell(&format!("fencepost: {error}"));
        return ExitCode::from(BAD_REQUEST);
    }
    // Containers of a trial share two cores with servers and each other: one thread each is plenty.
    let mut runtime = match &cli.verb {
        Verb::Client { .. }
        | Verb::Resource { .. }
        | Verb::Door { .. }
        | Verb::Watchdog { .. }
        | Verb::Netns { .. } => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let code = match runtime.enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(act(cli.verb));
            // A read of standard input can't be called off.
            runtime.shutdown_background();
            code
        }
        Err(error) => Err(Failure::own(error)),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message }) => {
            tell(&message);
            ExitCode::from(code)
        }
    }
}

async fn act(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Run(args) => run_all(args).await,
        Verb::Compare(args) => compare(args).await,
        Verb::Hunt(args) => hunt(args).await,
        Verb::Shrink(args) => {
            let small = run::shrink(&args.run, args.lock.as_deref(), args.check).map_err(Failure::bad_request)?;
            say(&cli::hunt::small(&small))?;
            Ok(0)
        }
        Verb::Replay { run } => replay(&run),
        Verb::Check(args) => check_history(&args),
        Verb::Inspect(args) => inspect(&args).await,
        Verb::Report { run } => {
            let report = report::json::read_run(&run, check::judge).map_err(Failure::bad_request)?;
            let page = report::write(&report)
                .with_context(|| format!("cannot write to {}", run.display()))
                .map_err(Failure::own)?;
            say(&page.display().to_string())?;
            Ok(Conclusion::of(&report).code())
        }
        Verb::Try(args) => try_out(args).await,
        Verb::Adapter(AdapterVerb::Own) => adapter::own::serve().await.map(|()| 0).map_err(Failure::own),
        Verb::Adapter(AdapterVerb::Check(args)) => adapter_check(args).await,
        Verb::Adapter(AdapterVerb::Schema) => {
            say(&serde_json::to_string_pretty(&adapter::protocol::schema()).map_err(Failure::own)?)?;
            Ok(0)
        }
        Verb::Calibrate(args) => calibrate(&args).await,
        Verb::Cluster(verb) => cluster(verb).await,
        Verb::List { locks: true, .. } => {
            say(&locks())?;
            Ok(0)
        }
        Verb::List { folder, .. } => list(&folder),
        Verb::Serve { folder, port } => {
            let told = |address| {
                let _ = stdout::say(&format!("http://{address}/ shows {} (Ctrl-C ends it)", folder.display()));
            };
            let served = fencepost::serve::serve(&folder, port, told).await;
            served.with_context(|| format!("cannot show {}", folder.display())).map_err(Failure::bad_request)?;
            Ok(0)
        }
        Verb::Schema { junit: true, .. } => {
            say(report::junit::SCHEMA.trim_end())?;
            Ok(0)
        }
        Verb::Schema { verdict: true, .. } => {
            say(report::json::VERDICT_SCHEMA)?;
            Ok(0)
        }
        Verb::Schema { .. } => {
            say(&serde_json::to_string_pretty(&scenario::load::schema()).map_err(Failure::own)?)?;
            Ok(0)
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fencepost", &mut script);
            say(&String::from_utf8_lossy(&script))?;
            Ok(0)
        }
        Verb::Client { id, socket } => {
            docker::client::main(&socket, ClientId(id)).await.map(|()| 0).map_err(Failure::own)
        }
        Verb::Door { port, socket } => {
            docker::external::door::main(port, &socket).await.map(|()| 0).map_err(Failure::own)
        }
        Verb::Resource { socket } => docker::resource::main(&socket).await.map(|()| 0).map_err(Failure::own),
        Verb::Watchdog { folder, netns } => {
            docker::watchdog::main(&folder, &netns).await.map(|()| 0).map_err(Failure::own)
        }
        Verb::Netns { socket } => docker::netns::agent::main(&socket).await.map(|()| 0).map_err(Failure::own),
    }
}
