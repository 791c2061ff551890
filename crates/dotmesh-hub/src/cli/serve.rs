//! `dothub serve`

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use dotmesh_hub_db::Opening;
use dotmesh_hub_model::limits::Pace;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::settings::{AddressRange, LOGIN_KEY_DAYS, Settings, SignUp};
use dotmesh_hub_service::webhooks::dispatcher;
use dotmesh_hub_service::{descriptors, jobs};
use dotmesh_model::size::parse_size;
use jiff::SignedDuration;
use tokio::signal::unix::{SignalKind, signal};

use super::ambient;
use super::error::CliError;
use super::{Data, Store, print};
use crate::tls::Tls;
use crate::{router, server};

/// Where it listens unless told.
pub(super) const DEFAULT_ADDRESS: &str = "127.0.0.1:8180";

/// Who can make an account
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum WhoSignsUp {
    /// Everybody
    Open,
    /// Who has a link from an administrator
    Invitation,
    /// Nobody; `dothub user add` makes accounts
    Closed,
}

impl From<WhoSignsUp> for SignUp {
    fn from(who: WhoSignsUp) -> Self {
        match who {
            WhoSignsUp::Open => Self::Open,
            WhoSignsUp::Invitation => Self::Invitation,
            WhoSignsUp::Closed => Self::Closed,
        }
    }
}

/// Serve the hub until it gets SIGTERM or SIGINT
///
/// With --database-url and --store-url, no data is in a folder. Several processes behind a load balancer can share the
/// database and the store, and each can be stopped, killed or added at any time.
///
/// The command prints `listening on http://ADDRESS` (https:// with TLS) when it is ready. Logs go to stderr, and RUST_LOG sets
/// the level, such as RUST_LOG=warn.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    store: Store,
    /// Where to listen; port 0 lets the system choose
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = DEFAULT_ADDRESS,
        env = "DOTHUB_LISTEN"
    )]
    listen: SocketAddr,
    /// The hub's address for its users, if a proxy is in front of it, such as https://hub.example.com
    #[arg(long, value_name = "URL", env = "DOTHUB_URL")]
    url: Option<url::Url>,
    /// Use TLS with the certificate chain in this PEM file, which is read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "DOTHUB_TLS_CERTIFICATE"
    )]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        env = "DOTHUB_TLS_KEY"
    )]
    tls_key: Option<PathBuf>,
    /// Who can make an account
    #[arg(long, value_enum, default_value = "invitation", env = "DOTHUB_SIGN_UP")]
    sign_up: WhoSignsUp,
    /// The address or network of a proxy whose X-Forwarded-For is trusted; can be given several times
    #[arg(
        long = "trusted-proxy",
        value_name = "NETWORK",
        value_delimiter = ',',
        env = "DOTHUB_TRUSTED_PROXIES"
    )]
    trusted_proxies: Vec<AddressRange>,
    /// Let everybody read /metrics, not only administrators
    #[arg(long, env = "DOTHUB_OPEN_METRICS")]
    open_metrics: bool,
    /// How many requests per second one user, or one address without a login, may send on average; 0 for no limit
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 100,
        env = "DOTHUB_RATE_LIMIT"
    )]
    rate_limit: u32,
    /// How much each user's namespace may store, such as 20GB; `dothub user quota` sets another for one user
    #[arg(long, value_name = "SIZE", env = "DOTHUB_QUOTA", value_parser = parse_size)]
    quota: Option<u64>,
    /// How many days an API key from `dm login` works; 0 for no expiry
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = LOGIN_KEY_DAYS,
        env = "DOTHUB_LOGIN_KEY_DAYS"
    )]
    login_key_days: u32,
    /// How many days any API key works at most, from its creation; 0 for no limit
    ///
    /// Older keys stop working.
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 0,
        env = "DOTHUB_LONGEST_KEY_DAYS"
    )]
    longest_key_days: u32,
    /// How many hours old packs must be before they are repacked into a smaller form; 0 to repack only with `dothub repack`
    #[arg(
        long,
        value_name = "HOURS",
        default_value_t = 1,
        env = "DOTHUB_REPACK_AFTER"
    )]
    repack_after: u32,
    /// Send webhooks also to loopback, private and other addresses that are not public
    ///
    /// Users choose the addresses of webhooks. With this option they can reach everything that this machine can.
    #[arg(long, env = "DOTHUB_WEBHOOKS_TO_PRIVATE")]
    webhooks_to_private: bool,
}

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            url: self.url.clone(),
            tls: self.tls_certificate.is_some(),
            sign_up: self.sign_up.into(),
            trusted_proxies: self.trusted_proxies.clone(),
            open_metrics: self.open_metrics,
            rate_limit: NonZeroU32::new(self.rate_limit),
            quota: self.quota,
            login_key_lifetime: lifetime(self.login_key_days),
            longest_key: lifetime(self.longest_key_days),
            webhooks_to_private: self.webhooks_to_private,
            repack_after: (self.repack_after > 0).then(|| hours(self.repack_after)),
            pace: Pace::DEFAULT,
        }
    }
}

/// So many hours.
pub(super) fn hours(hours: u32) -> Duration {
    Duration::from_secs(60 * 60 * u64::from(hours))
}

/// So many days; none for 0.
fn lifetime(days: u32) -> Option<SignedDuration> {
    (days > 0).then(|| SignedDuration::from_hours(24 * i64::from(days)))
}

/// Serves.
pub(super) async fn run(args: Args) -> Result<(), CliError> {
    start_logging();
    descriptors::raise();
    let tls = args.tls_certificate.as_ref().zip(args.tls_key.as_ref());
    let tls = tls.map(|(certificate, key)| Tls::load(certificate, key));
    let tls = tls.transpose()?;
    let _lock = args.data.lock(&args.store)?;
    let packs = args.store.packs(&args.data, Opening::New)?;
    let hub = Hub::new(
        args.data.database(Opening::New).await?,
        packs,
        args.settings(),
        ambient::clock(),
        ambient::random(),
    );
    tokio::spawn({
        let hub = hub.clone();
        async move { jobs::run(&hub).await }
    });
    tokio::spawn({
        let hub = hub.clone();
        async move { dispatcher::run(&hub).await }
    });
    // Before the address is told: whoever has read it may send the signal.
    let shutdown = shutdown().map_err(CliError::Runtime)?;
    let failed = |source| CliError::Listen {
        address: args.listen,
        source,
    };
    let listener = server::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    print(format_args!("listening on {scheme}://{address}"))?;
    let shutdown = async {
        shutdown.await;
        hub.live.close();
    };
    let router = router::router(hub.clone());
    server::serve(listener, tls, &hub, router, shutdown).await;
    hub.database.close().await;
    Ok(())
}

fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
    })
}

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    // Fails only where a program that embeds this one has its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
