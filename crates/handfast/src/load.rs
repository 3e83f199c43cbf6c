//! From the configuration file to what the daemon is made of.

use base::WallClock;
use config::{Config, DataplaneChoice, Outcome, Severity, Tools};
use crypto::Suite;
use provider::Provider;
use runtime::{Dataplane, Keys, Loaded, Setup, SystemRng, TicketSecret};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use trust::Trust;

/// Reads `file` as `check` and `run` both do.
pub(crate) fn read(file: &Path, suite: &dyn Suite) -> Outcome {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let load_key = |der: &[u8]| provider::load_private_key(der).map_err(|error| error.to_string());
    config::check(file, &Tools { suite, load_key: &load_key, wall: WallClock(wall) })
}

/// The algorithms of this build.
pub(crate) fn suite() -> Arc<dyn Suite> {
    Arc::new(Provider::new())
}

/// What the daemon is made of, for the configuration read from `file`.
pub(crate) fn setup(file: PathBuf, config: Config, suite: Arc<dyn Suite>, started: Instant) -> Setup {
    let daemon = &config.daemon;
    let dataplane = match daemon.dataplane {
        DataplaneChoice::None => Dataplane::None,
        DataplaneChoice::Tun => Dataplane::Tun(tun::EngineConfig {
            device: daemon.interface.clone(),
            mtu: daemon.mtu,
            table: daemon.routing_table,
            rule_priority: daemon.routing_priority,
            ..tun::EngineConfig::default()
        }),
    };
    let sockets = net::SocketConfig {
        ike_port: daemon.port,
        nat_port: daemon.port_nat_t,
        mark: daemon.mark,
        raw_esp: daemon.raw_esp && dataplane_carries(&dataplane),
    };
    let (mut settings, control) = (daemon.endpoint.clone(), daemon.control.clone());
    if let Some(path) = &daemon.crash_secret {
        match runtime::lasting_secret(path) {
            Ok(secret) => settings.crash_secret = Some(secret),
            Err(error) => tracing::warn!(
                "{} cannot be used for `crash_secret`: {error} Peers get no tokens of quick crash detection.",
                path.display()
            ),
        }
    }
    let config::ResolverSettings { file: names, command } = daemon.resolver.clone();
    let resolver = runtime::ResolverConfig { file: names, command };
    let own = ticket_secret(daemon.ticket_secret.as_deref());
    let Loaded { policy, authority, ticket_secret } = loaded(config, &suite, &own);
    settings.ticket_secret = ticket_secret;
    let again = suite.clone();
    Setup {
        policy,
        authority,
        suite,
        rng: SystemRng::boxed,
        settings,
        sockets,
        dataplane,
        resolver,
        control,
        loader: Box::new(move || reload(&file, &again, &own)),
        version: env!("CARGO_PKG_VERSION").to_string(),
        started,
    }
}

fn dataplane_carries(dataplane: &Dataplane) -> bool {
    matches!(dataplane, Dataplane::Tun(_))
}

/// The daemon's own secret behind tickets: in a file, or for as long as it runs.
fn ticket_secret(file: Option<&Path>) -> TicketSecret {
    let Some(path) = file else { return runtime::passing_secret() };
    runtime::lasting_secret(path).unwrap_or_else(|error| {
        tracing::warn!(
            "{} cannot be used for `ticket_secret`: {error} After a restart, tickets from before are worth nothing.",
            path.display()
        );
        runtime::passing_secret()
    })
}

fn reload(file: &Path, suite: &Arc<dyn Suite>, own: &TicketSecret) -> Result<Loaded, String> {
    let Outcome { config, problems } = read(file, suite.as_ref());
    match config {
        Some(config) => Ok(loaded(config, suite, own)),
        None => {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
            Err(errors.map(crate::run::one_line).collect::<Vec<_>>().join("\n"))
        }
    }
}

fn loaded(config: Config, suite: &Arc<dyn Suite>, own: &TicketSecret) -> Loaded {
    let trust = Trust::new(config.policy.clone(), suite.clone(), config.secrets);
    let ticket_secret = trust.ticket_secret(own);
    let authority = Arc::new(Keys::new(config.policy.clone(), trust));
    Loaded { authority, policy: config.policy, ticket_secret }
}
