//! The resources that are served, and where the server treats one otherwise than another.

/// A resource: where it is found, and its rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub is_namespaced: bool,
    /// Written apart from the rest.
    pub has_status: bool,
    /// `metadata.generation` counts changes of what is neither metadata nor status.
    pub has_generation: bool,
}

const CORE: Kind = Kind {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    is_namespaced: true,
    has_status: false,
    has_generation: false,
};

pub static PODS: Kind = Kind { plural: "pods", kind: "Pod", has_status: true, has_generation: true, ..CORE };
pub static CONFIG_MAPS: Kind = Kind { plural: "configmaps", kind: "ConfigMap", ..CORE };
pub static SECRETS: Kind = Kind { plural: "secrets", kind: "Secret", ..CORE };
pub static NODES: Kind = Kind { plural: "nodes", kind: "Node", is_namespaced: false, has_status: true, ..CORE };
pub static NAMESPACES: Kind =
    Kind { plural: "namespaces", kind: "Namespace", is_namespaced: false, has_status: true, ..CORE };
pub static PIPELINES: Kind = Kind {
    group: "onceward.dev",
    version: "v1alpha1",
    plural: "pipelines",
    kind: "Pipeline",
    is_namespaced: true,
    has_status: true,
    has_generation: true,
};
pub static LEASES: Kind = Kind { group: "coordination.k8s.io", plural: "leases", kind: "Lease", ..CORE };
pub static EVENTS: Kind = Kind { group: "events.k8s.io", plural: "events", kind: "Event", ..CORE };

static ALL: [&Kind; 8] = [&PODS, &CONFIG_MAPS, &SECRETS, &NODES, &NAMESPACES, &PIPELINES, &LEASES, &EVENTS];

impl Kind {
    pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|kind| (kind.group, kind.version, kind.plural) == (group, version, plural))
    }

    pub(super) fn of(api_version: &str, name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|kind| kind.api_version() == api_version && kind.kind == name)
    }

    /// A write must name the version that it is of.
    pub(super) fn is_custom(&self) -> bool {
        self.group == PIPELINES.group
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As refusals name it: `pipelines.onceward.dev`.
    pub(super) fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// One object's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: &'static Kind,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}
