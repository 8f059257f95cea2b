//! What generators make, as kubectl 1.36 makes it.

use clap::Parser;
use expect_test::{Expect, expect};

use super::*;
use crate::args::{Cli, Command};

#[track_caller]
fn check(line: &str, expected: &Expect) {
    let words = ["timonctl", "create"].into_iter().chain(line.split(' '));
    let Command::Create(create) = Cli::try_parse_from(words).unwrap().command else {
        panic!("it is a create");
    };
    let made = match *create.generator.unwrap() {
        Generator::Deployment(one) => one.make(),
        Generator::Cronjob(one) => Ok(one.make()),
        Generator::Configmap(one) => one.make(),
        Generator::Secret(one) => one.make().map(|(made, _)| made),
        Generator::Service(one) => one.make().map(|(made, _)| made),
        Generator::Ingress(one) => one.make(),
        Generator::Rolebinding(one) => one.make(),
        Generator::Quota(one) => one.make(),
        Generator::Poddisruptionbudget(one) => one.make(),
        other => panic!("{other:?} needs a server"),
    };
    let text = match made {
        Ok(made) => output::yaml(&made.object).unwrap(),
        Err(failure) => failure.to_string() + "\n",
    };
    expected.assert_eq(&text);
}

#[test]
fn generators_make_what_kubectl_makes() {
    check(
        "deployment web --image=reg:5000/a/nginx:1 --replicas=2 --port=80 -- sleep 1",
        &expect![[r#"
            apiVersion: apps/v1
            kind: Deployment
            metadata:
              labels:
                app: web
              name: web
            spec:
              replicas: 2
              selector:
                matchLabels:
                  app: web
              strategy: {}
              template:
                metadata:
                  labels:
                    app: web
                spec:
                  containers:
                  - command:
                    - sleep
                    - "1"
                    image: reg:5000/a/nginx:1
                    name: nginx
                    ports:
                    - containerPort: 80
                    resources: {}
            status: {}
        "#]],
    );
    check(
        "cronjob cj --image=busybox --schedule=@hourly -- echo hi",
        &expect![[r#"
            apiVersion: batch/v1
            kind: CronJob
            metadata:
              name: cj
            spec:
              jobTemplate:
                metadata:
                  name: cj
                spec:
                  template:
                    metadata: {}
                    spec:
                      containers:
                      - command:
                        - echo
                        - hi
                        image: busybox
                        name: cj
                        resources: {}
                      restartPolicy: OnFailure
              schedule: '@hourly'
            status: {}
        "#]],
    );
    check(
        "configmap c --from-literal=a=b",
        &expect![[r#"
        apiVersion: v1
        data:
          a: b
        kind: ConfigMap
        metadata:
          name: c
    "#]],
    );
    check(
        "secret docker-registry d --docker-username=u --docker-password=p --docker-email=e",
        &expect![[r#"
            apiVersion: v1
            data:
              .dockerconfigjson: eyJhdXRocyI6eyJodHRwczovL2luZGV4LmRvY2tlci5pby92MS8iOnsidXNlcm5hbWUiOiJ1IiwicGFzc3dvcmQiOiJwIiwiZW1haWwiOiJlIiwiYXV0aCI6ImRUcHcifX19
            kind: Secret
            metadata:
              name: d
            type: kubernetes.io/dockerconfigjson
        "#]],
    );
    check(
        "service nodeport s --tcp=80:8080 --node-port=30000",
        &expect![[r#"
        apiVersion: v1
        kind: Service
        metadata:
          labels:
            app: s
          name: s
        spec:
          ports:
          - name: 80-8080
            nodePort: 30000
            port: 80
            protocol: TCP
            targetPort: 8080
          selector:
            app: s
          type: NodePort
        status:
          loadBalancer: {}
    "#]],
    );
    check(
        "rolebinding rb --role=r --user=u --serviceaccount=ns:sa",
        &expect![[r#"
            apiVersion: rbac.authorization.k8s.io/v1
            kind: RoleBinding
            metadata:
              name: rb
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: Role
              name: r
            subjects:
            - apiGroup: rbac.authorization.k8s.io
              kind: User
              name: u
            - kind: ServiceAccount
              name: sa
              namespace: ns
        "#]],
    );
    check(
        "quota q --hard=cpu=1,pods=2 --scopes=BestEffort",
        &expect![[r#"
        apiVersion: v1
        kind: ResourceQuota
        metadata:
          name: q
        spec:
          hard:
            cpu: "1"
            pods: "2"
          scopes:
          - BestEffort
        status: {}
    "#]],
    );
    check(
        "pdb p --selector=a=b --min-available=1",
        &expect![[r#"
        apiVersion: policy/v1
        kind: PodDisruptionBudget
        metadata:
          name: p
        spec:
          minAvailable: 1
          selector:
            matchLabels:
              a: b
        status:
          currentHealthy: 0
          desiredHealthy: 0
          disruptionsAllowed: 0
          expectedPods: 0
    "#]],
    );
    check(
        "ingress i --rule=foo.com/bar*=svc:8080,tls=cert --default-backend=d:80",
        &expect![[r#"
            apiVersion: networking.k8s.io/v1
            kind: Ingress
            metadata:
              name: i
            spec:
              defaultBackend:
                service:
                  name: d
                  port:
                    number: 80
              rules:
              - host: foo.com
                http:
                  paths:
                  - backend:
                      service:
                        name: svc
                        port:
                          number: 8080
                    path: /bar
                    pathType: Prefix
              tls:
              - hosts:
                - foo.com
                secretName: cert
            status:
              loadBalancer: {}
        "#]],
    );
}

#[test]
fn generators_refuse_in_kubectls_words() {
    check(
        "deployment web --image=a --image=b -- c",
        &expect![[r#"
        error: cannot specify multiple --image options and command
    "#]],
    );
    check(
        "service clusterip s",
        &expect![[r#"
        error: at least one tcp port specifier must be provided
    "#]],
    );
    check(
        "configmap c --from-literal=a=b --from-literal=a=c",
        &expect![[r#"
        error: cannot add key "a", another key by that name already exists in Data for ConfigMap "c"
    "#]],
    );
}
