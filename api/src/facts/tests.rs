use super::*;

fn field(schema: &str, name: &str) -> &'static Field {
    schema_by_name(schema).unwrap().field(name).unwrap()
}

#[test]
fn every_reference_resolves() {
    fn walk(ty: &Type) {
        match ty {
            Type::Ref(schema) => assert!(schema_by_name(schema.name()).is_some(), "{schema:?}"),
            Type::List { item, .. } => walk(item),
            Type::Map { value, .. } => walk(value),
            _ => {}
        }
    }
    assert!(all().count() > 500);
    all()
        .flat_map(|schema| &schema.fields)
        .for_each(|field| walk(&field.ty));
}

#[test]
fn a_pods_containers_merge_by_name() {
    let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
    assert!(containers.required);
    assert_eq!(containers.patch_strategy, Some("merge"));
    assert_eq!(containers.patch_merge_key, Some("name"));
    let Type::List {
        item,
        list_type,
        map_keys,
    } = &containers.ty
    else {
        panic!()
    };
    assert_eq!((*list_type, map_keys.as_slice()), (ListType::Map, ["name"].as_slice()));
    let Type::Ref(container) = **item else { panic!() };
    assert_eq!(container.go_name(), "Container");
    assert!(container.field("imagePullPolicy").is_some());
    assert!(container.field("pullPolicy").is_none() && container.field("Image").is_none());
}

#[test]
fn a_services_ports_are_a_map_of_port_and_protocol_but_merge_by_port() {
    let ports = field("io.k8s.api.core.v1.ServiceSpec", "ports");
    let Type::List { map_keys, .. } = &ports.ty else {
        panic!()
    };
    assert_eq!(map_keys, &["port", "protocol"]);
    assert_eq!(ports.patch_merge_key, Some("port"));
    let protocol = field("io.k8s.api.core.v1.ServicePort", "protocol");
    assert_eq!(protocol.default_value(), Some("TCP".into()));
}

#[test]
fn scalars_that_marshal_themselves_are_known() {
    for (schema, name, scalar) in [
        (
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "creationTimestamp",
            Scalar::Time,
        ),
        ("io.k8s.api.coordination.v1.LeaseSpec", "renewTime", Scalar::MicroTime),
        ("io.k8s.api.core.v1.HTTPGetAction", "port", Scalar::IntOrString),
        ("io.k8s.api.core.v1.EmptyDirVolumeSource", "sizeLimit", Scalar::Quantity),
        ("io.k8s.api.core.v1.PodSpec", "activeDeadlineSeconds", Scalar::Int64),
    ] {
        assert!(
            matches!(field(schema, name).ty, Type::Scalar(s) if s == scalar),
            "{schema}.{name}"
        );
    }
    let data = field("io.k8s.api.core.v1.Secret", "data");
    assert!(matches!(&data.ty, Type::Map { value, .. } if matches!(**value, Type::Scalar(Scalar::Bytes))));
    let fields = field("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry", "fieldsV1");
    assert!(matches!(fields.ty, Type::RawObject));
}

#[test]
fn atomic_structs_and_maps_are_atomic() {
    assert!(field("io.k8s.api.apps.v1.DeploymentSpec", "selector").is_atomic());
    assert!(field("io.k8s.api.core.v1.PodSpec", "nodeSelector").is_atomic());
    assert!(!field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "labels").is_atomic());
    assert!(field("io.k8s.api.core.v1.Container", "command").is_atomic());
}

#[test]
fn kinds_lists_and_options_have_schemas() {
    assert_eq!(schema_for("", "v1", "Pod").unwrap().name, "io.k8s.api.core.v1.Pod");
    assert_eq!(
        schema_for("apps", "v1", "DeploymentList").unwrap().go_name(),
        "DeploymentList"
    );
    assert_eq!(
        schema_for("apps", "v1", "DeleteOptions").unwrap().go_name(),
        "DeleteOptions"
    );
    assert!(schema_for("autoscaling", "v1", "Scale").is_some());
    assert!(schema_for("policy", "v1", "Eviction").is_some());
    assert!(schema_for("apps", "v1beta1", "Deployment").is_none());
}

#[test]
fn every_served_resource_and_subresource_has_a_schema() {
    for resource in crate::resources::all() {
        assert!(
            schema_for(resource.group, resource.version, resource.kind).is_some(),
            "{resource:?}"
        );
        for sub in resource.subresources {
            let options = sub.kind.ends_with("Options");
            assert!(
                options || schema_for(sub.group, sub.version, sub.kind).is_some(),
                "{sub:?}"
            );
        }
    }
}
