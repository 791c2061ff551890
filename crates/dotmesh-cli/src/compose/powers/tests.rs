//! What ordinary and hostile apps may do.

use std::path::Path;

use super::super::document::{Document, Generation, Origin};
use super::Powers;

fn powers(code: &Path, text: &str) -> Powers {
    let origin = Origin {
        generation: Generation::Two,
        project: "shop".to_owned(),
        profiles: Vec::new(),
        driver: "dm".to_owned(),
        folder: code.to_owned(),
    };
    Powers::of(&Document::read(text, origin).expect("a document"), code)
}

#[test]
fn an_ordinary_app_reaches_nothing_else() {
    let code = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(code.path().join("web")).expect("a folder");
    let text = format!(
        r#"
services:
  web:
    build: {{context: {code}/web, dockerfile: Dockerfile}}
    command: [serve]
    environment: {{A: b}}
    depends_on: {{db: {{condition: service_healthy}}}}
    ports: [{{target: 80, published: "8100", protocol: tcp}}]
    volumes:
      - {{type: bind, source: {code}/web/client, target: /client, read_only: true}}
      - {{type: volume, source: db, target: /data}}
  db: {{image: "postgres:15", restart: always, privileged: false, cap_add: []}}
volumes:
  db: {{driver: dm, name: shop_app.db}}
"#,
        code = code.path().display()
    );
    let powers = powers(code.path(), &text);
    assert_eq!(powers.images, ["postgres:15"]);
    assert_eq!(powers.builds, ["web"]);
    assert_eq!(powers.ports, ["8100"]);
    assert!(!powers.are_unusual(), "{powers:?}");
}

#[test]
fn what_reaches_beyond_is_named() {
    let code = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/etc", code.path().join("link")).expect("a link");
    let text = format!(
        r#"
services:
  bad:
    image: bad
    build: {{context: {code}, network: host, ssh: [default]}}
    network_mode: host
    pid: host
    privileged: true
    cap_add: [SYS_ADMIN]
    devices: [/dev/kvm:/dev/kvm]
    security_opt: [seccomp:unconfined]
    provider: {{type: sh}}
    use_api_socket: true
    a_setting_of_tomorrow: 7
    volumes_from: ["container:other"]
    volumes:
      - {{type: bind, source: /var/run/docker.sock, target: /docker.sock}}
      - {{type: bind, source: {code}/link/ssl, target: /ssl}}
      - {{type: bind, source: {code}/../new, target: /new}}
networks:
  shared: {{external: true, name: shared}}
volumes:
  theirs: {{external: true, name: theirs}}
  root: {{driver: local, driver_opts: {{type: none, o: bind, device: /}}}}
secrets:
  key: {{file: /root/.ssh/id_ed25519}}
"#,
        code = code.path().display()
    );
    let powers = powers(code.path(), &text);
    for right in [
        "bad has a_setting_of_tomorrow 7",
        "bad has cap_add SYS_ADMIN",
        "bad has devices /dev/kvm:/dev/kvm",
        "bad has network_mode host",
        "bad has pid host",
        r#"bad has provider {"type":"sh"}"#,
        "bad has security_opt seccomp:unconfined",
        "bad is privileged",
        "bad is use_api_socket",
        "the build of bad has network host",
        "the build of bad has ssh default",
    ] {
        assert!(
            powers.privileges.iter().any(|known| known == right),
            "no '{right}' in {powers:#?}"
        );
    }
    let new = code
        .path()
        .parent()
        .expect("a parent")
        .canonicalize()
        .expect("a folder");
    for place in [
        "/root/.ssh/id_ed25519 for key".to_owned(),
        "/etc/ssl in bad".to_owned(),
        format!("{}/new in bad", new.display()),
        "network shared".to_owned(),
        "the volumes of container:other in bad".to_owned(),
        "volume theirs".to_owned(),
        "volume shop_root, which is /".to_owned(),
    ] {
        assert!(
            powers.outside.contains(&place),
            "no '{place}' in {powers:#?}"
        );
    }
    assert!(
        powers
            .outside
            .iter()
            .any(|place| place.ends_with("docker.sock in bad")),
        "{powers:#?}"
    );
    assert!(powers.are_unusual());
}
