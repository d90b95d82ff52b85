//! Two restore points of a small management cluster, and `restore-cli` to read them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use backup_core::backup::{BackupPlan, Origin};
use backup_core::id::ComponentName;
use backup_core::newfile::{self, OverwritePolicy};
use backup_core::store::local::LocalStore;
use backup_core::testing::objects::FixedArchive;
use backup_core::testing::world::{self, snapshot, stream};
use tempfile::TempDir;

use super::cluster;

pub(super) struct World {
    pub(super) folder: TempDir,
    store: String,
    trust: String,
    identity: PathBuf,
    first: String,
    second: String,
}

const CANARIES: [&str; 7] = [
    "canary-login-old",
    "canary-login-new",
    "canary-kubeconfig",
    "canary-datastore",
    "canary-machine",
    "canary-invitation",
    "canary-applied",
];

/// Returns the texts that must not be shown: each canary as it is and in base64.
pub(super) fn canaries() -> Vec<String> {
    let plain = CANARIES.map(str::to_owned).into_iter();
    plain.chain(CANARIES.map(base64)).collect()
}

/// Encodes in base64 with the standard program.
pub(super) fn base64(text: &str) -> String {
    let encode = ["-c", "printf %s \"$0\" | base64 --wrap=0", text];
    stdout(&Command::new("sh").args(encode).output().unwrap())
}

pub(super) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl World {
    /// Makes a restore point, and one an hour later in which something of every kind changed.
    pub(super) async fn with_two_restore_points() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let world = world::World::on(LocalStore::create(path.as_path()).await.unwrap());
        let (facts, keys) = (cluster::facts(), cluster::kubeconfigs());
        let crds = FixedArchive::default().kind("customresourcedefinitions", "X", "v1", &[]);
        let mut ids = Vec::new();
        for later in [false, true] {
            let (resources, secrets) = (cluster::resources(later), cluster::secrets(later));
            let etcd = Origin::File {
                name: "etcd",
                bytes: stream(&snapshot()),
            };
            let mut parts = vec![
                (ComponentName::etcd(), etcd),
                (ComponentName::resources(), Origin::Archive(&resources)),
                (ComponentName::secrets(), Origin::Archive(&secrets)),
                (ComponentName::kubeconfigs(), Origin::Archive(&keys)),
            ];
            let mut missing = Vec::new();
            if later {
                missing.push(ComponentName::crds());
            } else {
                parts.push((ComponentName::crds(), Origin::Archive(&crds)));
            }
            let plan = BackupPlan {
                parts,
                cluster: Some(&facts),
                missing,
                findings: Vec::new(),
            };
            ids.push(world.take(plan).await.unwrap().id.to_string());
        }
        let identity = folder.path().join("identity");
        let text = world.identity().as_bytes();
        newfile::write(&identity, text, OverwritePolicy::Refuse).unwrap();
        let [first, second] = ids.try_into().unwrap();
        Self {
            store: format!("file://{}", path.display()),
            trust: world.key().public().to_string(),
            folder,
            identity,
            first,
            second,
        }
    }

    /// Resolves `A` and `B` to the two restore points; other words stay.
    pub(super) fn named<'a>(&'a self, word: &'a str) -> &'a str {
        match word {
            "A" => &self.first,
            "B" => &self.second,
            other => other,
        }
    }

    /// Runs `restore-cli` on the store, with `flags` after the arguments.
    fn run(&self, args: &[&str], flags: &[&str]) -> Output {
        let args = args.iter().map(|arg| self.named(arg));
        let mut command = Command::new(cargo_bin!("restore-cli"));
        command.env_clear().stdin(Stdio::null()).args(args);
        command.args(["--store", &self.store]).args(flags);
        command.output().unwrap()
    }

    fn identity(&self) -> [&str; 2] {
        ["--identity", self.identity.to_str().unwrap()]
    }

    /// Runs `restore-cli` without a key.
    pub(super) fn look(&self, args: &[&str]) -> Output {
        self.run(args, &["--trust", &self.trust])
    }

    /// Runs `restore-cli` with the key, and trusts any signature.
    pub(super) fn look_at_anyone(&self, args: &[&str]) -> Output {
        let [flag, identity] = self.identity();
        self.run(args, &["--trust", "none", flag, identity])
    }

    /// Runs `restore-cli` with the key.
    pub(super) fn read(&self, args: &[&str]) -> Output {
        self.look(&[args, &self.identity()].concat())
    }

    /// Returns the text without the parts that differ in every run.
    pub(super) fn plain(&self, text: &str) -> String {
        text.replace(&self.first, "20261123t120000000z-aaaaaaaaaaaa")
            .replace(&self.second, "20261123t130000000z-bbbbbbbbbbbb")
    }
}
