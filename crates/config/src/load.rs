//! From a file to a configuration.

use crate::connection::Kind;
use crate::files::{self, Files};
use crate::interfaces::Interfaces;
use crate::problem::{Problem, Severity, Warning};
use crate::reader::{Reader, Section};
use crate::schema;
use crate::secrets::SecretStore;
use crate::settings;
use crate::source::Source;
use crate::value::shown;
use crate::{Config, limits};
use base::WallClock;
use crypto::{SigningKey, Suite};
use policy::{Certificate, Crl, Places, Policy, Pool, Proposal};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::de::DeTable;

/// Makes a private key of its plain DER.
pub type LoadKey = dyn Fn(&[u8]) -> Result<Box<dyn SigningKey>, String>;

/// What reading a configuration needs of the world.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// The algorithms: what it lacks is refused where the file names it.
    pub suite: &'a dyn Suite,
    /// Makes a key of its plain DER (PKCS#8, SEC 1 or PKCS#1); the error continues a sentence.
    pub load_key: &'a LoadKey,
    /// For validity periods of certificates.
    pub wall: WallClock,
}

/// What became of a file.
pub struct Outcome {
    /// The configuration; `None` when there are errors.
    pub config: Option<Config>,
    /// Errors first, then warnings, each in the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads a configuration with all that it names. `handfast check` prints what this tells, and
/// `handfast run` takes what this gives: they cannot disagree.
///
/// # Errors
/// Every error of the file.
pub fn load(path: &Path, tools: &Tools<'_>) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    let Outcome { config, problems } = check(path, tools);
    match config {
        Some(config) => Ok((config, problems)),
        None => Err(problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect()),
    }
}

/// As [`load`], with the warnings also when there are errors.
pub fn check(path: &Path, tools: &Tools<'_>) -> Outcome {
    let whole = |message: String| {
        let source = Source::new(path.to_path_buf(), String::new());
        Outcome { config: None, problems: vec![source.whole(Severity::Error, message, None)] }
    };
    let content = match files::read(path, limits::FILE) {
        Ok(content) => content,
        Err(why) => return whole(why),
    };
    match std::str::from_utf8(content.bytes.expose()) {
        Ok(text) => check_text(path, text, content.public, tools),
        Err(error) => {
            let good = content.bytes.expose().get(..error.valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|octet| **octet == b'\n').count() + 1;
            whole(format!("The file is not UTF-8 text: line {line} has an octet that does not belong."))
        }
    }
}

/// Reads a configuration whose text is `text`; files that it names are found beside `path`.
/// `public` says whether everybody on the machine can read it.
pub fn check_text(path: &Path, text: &str, public: bool, tools: &Tools<'_>) -> Outcome {
    let mut reader = Reader::new(Source::new(path.to_path_buf(), text.to_string()));
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.error(&error.span().unwrap_or(0..0), syntax(error.message()), None);
    }
    if !errors.is_empty() {
        // What the parser made of a broken file would be told wrongly.
        return Outcome { config: None, problems: reader.problems };
    }
    let mut loader = Loader {
        reader,
        files: Files::beside(path),
        tools: *tools,
        authorities: Vec::new(),
        crls: Vec::new(),
        places: Vec::new(),
        pools: Vec::new(),
        store: SecretStore::default(),
        parsed_proposals: BTreeMap::new(),
        interfaces: Interfaces::default(),
        inline_secret: None,
    };
    let config = loader.read(&Section::root(table.get_ref()), public);
    if config.policy.connections.is_empty() && loader.reader.problems.is_empty() {
        let hint = Some("Write one: [connections.NAME].".to_string());
        let none = loader.reader.source.whole(Severity::Warning, "The file has no connection.".into(), hint);
        loader.reader.problems.push(none);
    }
    let mut problems = loader.reader.problems;
    // Stable: within a severity and a line the order of discovery stays.
    problems.sort_by_key(|problem| (problem.severity, problem.line));
    let broken = problems.iter().any(|problem| problem.severity == Severity::Error);
    Outcome { config: (!broken).then_some(config), problems }
}

/// The parser's message as a sentence.
fn syntax(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    format!("This is not TOML: {line}.")
}

/// A file being read.
pub(crate) struct Loader<'t> {
    pub(crate) reader: Reader,
    pub(crate) files: Files,
    pub(crate) tools: Tools<'t>,
    /// Those of `[authorities]`.
    pub(crate) authorities: Vec<Certificate>,
    /// The CRLs of `[authorities]`.
    pub(crate) crls: Vec<Crl>,
    /// Who can be asked about the certificates of `[authorities]`.
    pub(crate) places: Vec<Places>,
    /// Those of `[pools]`.
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) store: SecretStore,
    /// Proposals by their strings: many connections have the same.
    pub(crate) parsed_proposals: BTreeMap<(Kind, String), Vec<Proposal>>,
    /// Those that children name.
    pub(crate) interfaces: Interfaces,
    /// The first place where a secret stands in the file itself.
    pub(crate) inline_secret: Option<Range<usize>>,
}

impl Loader<'_> {
    fn read(&mut self, root: &Section<'_>, public: bool) -> Config {
        self.reader.check_keys(root, &schema::ROOT);
        let daemon = settings::read(&mut self.reader, root);
        self.interfaces = Interfaces::beside(&daemon);
        self.authorities = self.read_authorities(root);
        self.read_secrets(root);
        self.read_pools(root);
        let mut connections = Vec::new();
        for (name, section) in self.reader.named(root, "connections") {
            connections.extend(self.read_connection(name, &section).map(Arc::new));
        }
        let shunts = self.read_shunts(root);
        self.warn_idle_keys();
        if let (true, Some(at)) = (public, self.inline_secret.clone()) {
            let name = shown(&self.reader.source.file().to_string_lossy());
            self.warn_public(&at, &name);
        }
        let secrets = std::mem::take(&mut self.store.secrets);
        Config { policy: Arc::new(Policy { connections, shunts }), secrets, daemon }
    }
}
