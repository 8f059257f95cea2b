//! "MUST exist in discovery; must support create, get, list, watch, update, patch, delete, and deletecollection", for any kind.

use serde_json::{Value, json};

use crate::client::{Api, Resource};
use crate::server::Server;

/// A kind of the API, and what the check needs to know to make objects of it.
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    /// `v1`
    pub(crate) version: &'static str,
    /// `configmaps`
    pub(crate) plural: &'static str,
    /// `ConfigMap`
    pub(crate) kind: &'static str,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// Three names that the kind allows.
    pub(crate) names: [&'static str; 3],
    /// An object but for its metadata, given its name.
    pub(crate) object: fn(&str) -> Value,
    /// Subresources that discovery must list, beyond `status`.
    pub(crate) subresources: &'static [&'static str],
    /// Two merge patches of `status`, where the kind has one.
    pub(crate) status: Option<[Value; 2]>,
    /// Whether somebody's finalizer lets the objects go a moment after they are deleted.
    pub(crate) finalized: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            group: "",
            version: "v1",
            plural: "",
            kind: "",
            namespaced: false,
            names: ["e2e-one", "e2e-two", "e2e-three"],
            object: |_| json!({}),
            subresources: &[],
            status: None,
            finalized: false,
        }
    }
}

const ALL: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

impl Kind {
    /// `apps/v1`
    pub(crate) fn group_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The objects, in the default namespace where there are namespaces.
    pub(crate) fn resource(&self, api: &Api) -> Resource {
        let all = api.at(&self.group_version(), self.plural);
        if self.namespaced { all.within("default") } else { all }
    }

    /// An object, with a label that all of one test share.
    pub(crate) fn sample(&self, name: &str) -> Value {
        let mut object = (self.object)(name);
        object["apiVersion"] = self.group_version().into();
        object["kind"] = self.kind.into();
        object["metadata"] = json!({"name": name, "labels": {"suite": "conformance", "name": name}});
        object
    }

    /// Checks `/apis`, the group's and the version's documents.
    #[track_caller]
    pub(crate) fn is_discovered(&self, api: &Api) {
        let group_version = self.group_version();
        let has = |versions: &Value| {
            let mut versions = versions.as_array().expect("versions").iter();
            versions.any(|version| version["groupVersion"] == group_version && version["version"] == self.version)
        };
        if !self.group.is_empty() {
            let groups = api.get("/apis").expect(200);
            let mut found = groups["groups"].as_array().expect("groups").iter();
            let group = found
                .find(|group| group["name"] == self.group)
                .expect("the group is in /apis");
            assert!(has(&group["versions"]), "/apis: {group}");
            let group = api.get(&format!("/apis/{}", self.group)).expect(200);
            assert!(has(&group["versions"]), "{group}");
        }
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let list = api.get(&format!("{root}/{group_version}")).expect(200);
        let resources = list["resources"].as_array().expect("resources");
        let verbs = |name: &str| -> Vec<String> {
            let found = resources.iter().find(|resource| resource["name"] == name);
            let found = found.unwrap_or_else(|| panic!("{group_version} has no {name}"));
            let verbs = found["verbs"].as_array().expect("verbs");
            verbs
                .iter()
                .map(|verb| verb.as_str().expect("a verb").to_owned())
                .collect()
        };
        let mut offered = verbs(self.plural);
        offered.sort();
        assert_eq!(offered, ALL, "{}", self.plural);
        if self.status.is_some() {
            assert_eq!(verbs(&format!("{}/status", self.plural)), ["get", "patch", "update"]);
        }
        for name in self.subresources {
            verbs(&format!("{}/{name}", self.plural));
        }
    }

    /// Does everything that can be done to objects of this kind.
    #[track_caller]
    pub(crate) fn supports_every_operation(&self, api: &Api) {
        const OURS: &str = "labelSelector=suite%3Dconformance";
        let resource = self.resource(api);
        let [first, second, third] = self.names;
        let revision = resource.revision();
        let mut watch = resource.watch(&format!("{OURS}&resourceVersion={revision}"));

        // create
        for name in self.names {
            let made = resource.create(self.sample(name));
            assert_eq!(made["metadata"]["name"], name);
            assert_eq!(made["kind"], self.kind);
            assert_eq!(made["apiVersion"], self.group_version());
            for field in ["uid", "resourceVersion", "creationTimestamp"] {
                assert!(made["metadata"][field].is_string(), "{field}: {made}");
            }
            assert_eq!(
                watch.expect("ADDED", name),
                made,
                "a watch shows what the create answered"
            );
        }
        resource.try_create(&self.sample(first)).refused(409, "AlreadyExists");

        // get, list
        let read = resource.get(first);
        assert_eq!(read["metadata"]["labels"]["name"], first);
        let mut sorted = self.names.map(str::to_owned);
        sorted.sort();
        assert_eq!(resource.names(OURS), sorted);
        let list = resource.list(OURS);
        assert_eq!(list["kind"], format!("{}List", self.kind));
        assert_eq!(resource.names(&format!("labelSelector=name%3D{second}")), [second]);
        if self.namespaced {
            assert_eq!(api.at(&self.group_version(), self.plural).names(OURS), sorted);
            assert!(resource.within("kube-system").names(OURS).is_empty());
        }
        assert_eq!(
            resource.names(&format!("fieldSelector=metadata.name%3D{third}")),
            [third]
        );

        // patch
        let patched = resource.patch(first, json!({"metadata": {"annotations": {"patched": "true"}}}));
        assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
        assert_ne!(
            patched["metadata"]["resourceVersion"],
            read["metadata"]["resourceVersion"]
        );
        assert_eq!(patched["metadata"]["uid"], read["metadata"]["uid"]);
        assert_eq!(watch.expect("MODIFIED", first), patched);

        // update
        let mut next = patched.clone();
        next["metadata"]["annotations"]["updated"] = "true".into();
        let updated = resource.try_update(&next).expect(200);
        assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
        assert_eq!(updated["metadata"]["annotations"]["patched"], "true");
        assert_eq!(watch.expect("MODIFIED", first), updated);
        resource.try_update(&next).refused(409, "Conflict");

        if let Some(patches) = &self.status {
            self.supports_status(&resource, patches);
            watch.until("MODIFIED", first);
        }

        // delete
        resource.delete(first);
        self.gone(&resource, first);
        watch.until("DELETED", first);
        let mut left = [second.to_owned(), third.to_owned()];
        left.sort();
        assert_eq!(resource.names(OURS), left);

        // deletecollection
        resource.delete_collection(OURS);
        left.iter().for_each(|name| self.gone(&resource, name));
        assert!(resource.names(OURS).is_empty());
        let mut gone: Vec<String> = std::iter::repeat_with(|| watch.next())
            .filter(|event| !self.finalized || event.kind != "MODIFIED")
            .inspect(|event| assert_eq!(event.kind, "DELETED"))
            .map(|event| event.name().to_owned())
            .take(2)
            .collect();
        gone.sort();
        assert_eq!(gone, left);
    }

    #[track_caller]
    fn gone(&self, resource: &Resource, name: &str) {
        if self.finalized {
            resource.until_absent(name);
        } else {
            resource.absent(name);
        }
    }

    /// Patches and updates the first object's status, and looks whether it is seen, and whether all else stays.
    #[track_caller]
    pub(crate) fn supports_status(&self, resource: &Resource, patches: &[Value; 2]) {
        let name = self.names[0];
        let path = format!("{name}/status");
        let before = resource.get(name);
        let patch = json!({"metadata": {"annotations": {"status": "patched"}}, "status": patches[0]});
        let patched = resource.patch(&path, patch);
        includes(&patched["status"], &patches[0]);
        assert_eq!(patched["spec"], before["spec"], "a status' patch leaves the spec alone");
        assert_eq!(resource.get(&path)["status"], patched["status"]);
        let updated = resource.edit(&path, |object| merge(&mut object["status"], &patches[1]));
        includes(&updated["status"], &patches[1]);
        assert_eq!(updated["spec"], before["spec"]);
        let seen = resource.get(name);
        assert_eq!(seen["status"], updated["status"]);
        // A status is written only through its subresource.
        let ignored = resource.edit(name, |object| merge(&mut object["status"], &patches[0]));
        assert_eq!(ignored["status"], updated["status"]);
    }

    /// Both checks, on a server of its own.
    #[track_caller]
    pub(crate) fn conforms(&self) {
        let server = Server::alone();
        self.is_discovered(&server);
        self.supports_every_operation(&server);
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        merge(&mut target[key], value);
    }
}

/// Checks that a value has everything that a patch said; lists need their items' fields only.
#[track_caller]
pub(crate) fn includes(value: &Value, patch: &Value) {
    match (value, patch) {
        (Value::Object(_), Value::Object(fields)) => {
            for (key, part) in fields {
                includes(&value[key], part);
            }
        }
        (Value::Array(items), Value::Array(parts)) => {
            assert_eq!(items.len(), parts.len(), "{value} is not {patch}");
            for (item, part) in items.iter().zip(parts) {
                includes(item, part);
            }
        }
        _ => assert_eq!(value, patch),
    }
}
