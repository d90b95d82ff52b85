//! Kinds of a management cluster, with their shares and sizes.

use std::ops::Range;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::object::Object;
use super::{EPOCH, Shape, text};

/// Storage form of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Namespace,
    ConfigMap,
    Lease,
    /// Custom resources.
    Json,
    /// Secrets: encrypted at rest, as on Talos.
    Encrypted,
}

/// Kind of object.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) api_version: &'static str,
    /// Part of the key between `/registry/` and the namespace.
    pub(super) path: &'static str,
    pub(super) form: Form,
    /// Number of bytes of the spec.
    pub(super) size: Range<usize>,
    /// Share of this kind in a hundred objects.
    share: u32,
}

macro_rules! kinds {
    ($($name:literal $version:literal $path:literal $form:ident $size:expr, $share:literal;)*) => {
        &[$(Kind {
            name: $name,
            api_version: $version,
            path: $path,
            form: Form::$form,
            size: $size,
            share: $share,
        }),*]
    };
}

/// Kinds of the mix.
static MIX: &[Kind] = kinds! {
    "Pod" "v1" "pods" Protobuf 2_500..8_000, 14;
    "ReplicaSet" "apps/v1" "replicasets" Protobuf 1_500..4_000, 12;
    "Deployment" "apps/v1" "deployments" Protobuf 2_000..5_000, 5;
    "Service" "v1" "services/specs" Protobuf 600..1_500, 7;
    "EndpointSlice" "discovery.k8s.io/v1" "endpointslices" Protobuf 700..1_800, 7;
    "ServiceAccount" "v1" "serviceaccounts" Protobuf 600..900, 6;
    "RoleBinding" "rbac.authorization.k8s.io/v1" "rolebindings" Protobuf 600..1_000, 6;
    "ConfigMap" "v1" "configmaps" ConfigMap 600..9_000, 9;
    "Secret" "v1" "secrets" Encrypted 700..6_000, 14;
    "TenantCluster" "butler.butlerlabs.dev/v1alpha1"
        "butler.butlerlabs.dev/tenantclusters" Json 1_500..6_000, 4;
    "TenantAddon" "butler.butlerlabs.dev/v1alpha1"
        "butler.butlerlabs.dev/tenantaddons" Json 800..3_000, 6;
    "TenantControlPlane" "steward.butlerlabs.dev/v1alpha1"
        "steward.butlerlabs.dev/tenantcontrolplanes" Json 1_500..7_000, 4;
    "Machine" "cluster.x-k8s.io/v1beta1" "cluster.x-k8s.io/machines" Json 1_500..4_000, 6;
};

static NAMESPACE: Kind = Kind {
    name: "Namespace",
    api_version: "v1",
    path: "namespaces",
    form: Form::Namespace,
    size: 0..1,
    share: 0,
};

static LEASE: Kind = Kind {
    name: "Lease",
    api_version: "coordination.k8s.io/v1",
    path: "leases",
    form: Form::Lease,
    size: 0..1,
    share: 0,
};

static NODE: Kind = Kind {
    name: "Node",
    api_version: "v1",
    path: "minions",
    form: Form::Protobuf,
    size: 6_000..12_000,
    share: 0,
};

/// Number of objects for each tenant namespace, on average.
const PER_NAMESPACE: usize = 150;

const SYSTEM_NAMESPACES: &[&str] = &[
    "kube-system",
    "default",
    "kube-public",
    "kube-node-lease",
    "butler-system",
    "steward-system",
];

/// Returns the UID of kube-system, which depends on the seed alone.
pub(super) fn kube_system_uid(shape: Shape) -> String {
    text::uid(&mut StdRng::seed_from_u64(shape.seed ^ 0x6b75_6265))
}

/// Returns namespaces and nodes, which exist from the beginning and never change.
pub(super) fn fixed(shape: Shape, random: &mut StdRng) -> Vec<Object> {
    let tenants = (0..tenants(shape)).map(tenant);
    let names = SYSTEM_NAMESPACES
        .iter()
        .map(ToString::to_string)
        .chain(tenants);
    let mut all: Vec<_> = names
        .map(|name| object(&NAMESPACE, "", &name, random))
        .collect();
    if let Some(kube_system) = all.first_mut() {
        kube_system.uid = kube_system_uid(shape);
    }
    all.extend((0..shape.nodes).map(|number| object(&NODE, "", &node(number), random)));
    all
}

/// Returns the leases of nodes and controllers.
pub(super) fn leases(shape: Shape, random: &mut StdRng) -> Vec<Object> {
    let controllers = [
        "kube-controller-manager",
        "kube-scheduler",
        "butler-controller",
        "steward",
    ];
    let of_nodes = (0..shape.nodes).map(|number| ("kube-node-lease", node(number)));
    let of_controllers = controllers
        .iter()
        .map(|name| ("kube-system", (*name).to_owned()));
    of_nodes
        .chain(of_controllers)
        .map(|(namespace, name)| object(&LEASE, namespace, &name, random))
        .collect()
}

/// Returns the mix of everything else, spread over the tenants' namespaces.
pub(super) fn mix(shape: Shape, random: &mut StdRng) -> Vec<Object> {
    (0..shape.objects)
        .map(|number| one_of_the_mix(shape, number, random))
        .collect()
}

/// Makes a new object of the mix; `number` makes its name.
pub(super) fn one_of_the_mix(shape: Shape, number: usize, random: &mut StdRng) -> Object {
    let total: u32 = MIX.iter().map(|kind| kind.share).sum();
    let mut draw = random.random_range(0..total);
    let kind = MIX.iter().find(|kind| match draw.checked_sub(kind.share) {
        Some(rest) => {
            draw = rest;
            false
        }
        None => true,
    });
    let namespace = tenant(random.random_range(0..tenants(shape)));
    let app = text::pick(
        random,
        &["api", "etcd", "konnectivity", "coredns", "cilium", "web"],
    );
    let name = format!("{app}-{}{number:x}", text::hex_word(random, 2));
    object(kind.unwrap_or(&NODE), &namespace, &name, random)
}

fn object(kind: &'static Kind, namespace: &str, name: &str, random: &mut StdRng) -> Object {
    Object {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: text::uid(random),
        seed: random.random(),
        generation: 1,
        updates: 0,
        created: EPOCH - random.random_range(0..200 * 86_400),
    }
}

fn tenants(shape: Shape) -> usize {
    shape.objects.div_ceil(PER_NAMESPACE).max(1)
}

fn tenant(number: usize) -> String {
    format!("tenant-{number:04}")
}

pub(super) fn node(number: usize) -> String {
    format!("node-{number:03}")
}
