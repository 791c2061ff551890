//! The config file: a round trip keeps everything, only the owner can read it, and no update is lost.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dotmesh_api::node_client::Direction;
use dotmesh_cli::commands::logout;
use dotmesh_cli::config::{
    Config, ConfigFile, CurrentDot, NodeConfig, Remote, RemoteName, SavedApiKey,
};
use dotmesh_cli::context::no_current_dot;
use dotmesh_cli::transfer::choose_remote;
use dotmesh_model::DotName;
use insta::assert_snapshot;
use proptest::prelude::*;

fn remote(key: &str) -> Remote {
    Remote::with_account(
        "https://dothub.com".to_owned(),
        "alice".parse().unwrap(),
        SavedApiKey::new(key.to_owned()),
    )
}

#[test]
fn the_file_is_readable_json_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("deep/.dotmesh/config");
    let file = ConfigFile::new(path.clone());
    assert_eq!(file.load().unwrap(), Config::default());
    file.update(|config| {
        config.remotes.insert("hub".parse().unwrap(), remote("key"));
        config.default_remote = Some("hub".parse().unwrap());
        let node = config.node_mut(Path::new("/run/dotmesh/api.sock"));
        node.current_dot = CurrentDot::Selected("app".parse().unwrap());
        let upstreams = [("app".parse().unwrap(), "bob/app".parse().unwrap())];
        node.upstreams
            .insert("hub".parse().unwrap(), upstreams.into());
        Ok(())
    })
    .unwrap();
    assert_snapshot!(std::fs::read_to_string(&path).unwrap(), @r#"
    {
      "version": 1,
      "default_remote": "hub",
      "remotes": {
        "hub": {
          "address": "https://dothub.com",
          "user": "alice",
          "api_key": "key"
        }
      },
      "nodes": {
        "/run/dotmesh/api.sock": {
          "current_dot": "admin/app",
          "upstreams": {
            "hub": {
              "admin/app": "bob/app"
            }
          }
        }
      }
    }
    "#);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    // A copy that others can read does not stay so.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    file.load().unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_forgotten_remote_leaves_nothing_behind() {
    let mut config = Config::default();
    let name: dotmesh_cli::config::RemoteName = "hub".parse().unwrap();
    config.remotes.insert(name.clone(), remote("key"));
    config.default_remote = Some(name.clone());
    let upstreams = [("app".parse().unwrap(), "bob/app".parse().unwrap())];
    let node = config.node_mut(Path::new("/s"));
    node.upstreams.insert(name.clone(), upstreams.into());
    config.remove_remote(&name).unwrap();
    assert_eq!(config.default_remote, None);
    assert!(config.node(Path::new("/s")).upstreams.is_empty());
    assert_snapshot!(config.remove_remote(&name).unwrap_err().render(), @r"
    Error: No such remote 'hub'
    hint: List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.
    ");
}

#[test]
fn what_was_known_of_a_deleted_dot_comes_back_with_it() {
    let dot = |name: &str| -> DotName { name.parse().unwrap() };
    let (app, shop) = (dot("app"), dot("shop"));
    let hub: RemoteName = "hub".parse().unwrap();
    let mut config = NodeConfig::default();
    config.choose(Path::new("/one"), &app);
    config.choose(Path::new("/two"), &shop);
    config.choose(Path::new("/three"), &app);
    config.current_dot = CurrentDot::Selected(app.clone());
    let upstreams = [(app.clone(), dot("alice/app")), (shop.clone(), dot("shop"))];
    config.upstreams.insert(hub.clone(), upstreams.into());
    let before = config.clone();
    assert!(config.set_dot_aside(&app, "1234"));
    assert_eq!(config.upstream(&hub, &app), None);
    assert_eq!(config.current_dot, CurrentDot::Deleted);

    // The settings survive the file format.
    let text = serde_json::to_string(&config).unwrap();
    let mut config: NodeConfig = serde_json::from_str(&text).unwrap();
    let mut other = config.clone();
    config.bring_dot_back(&app, "another");
    assert_eq!(config, other, "it is another dot");
    config.bring_dot_back(&app, "1234");
    assert_eq!(config, before);

    // A choice that was made meanwhile stays.
    other.choose(Path::new("/one"), &shop);
    other.bring_dot_back(&app, "1234");
    let place = other.chosen_around(Path::new("/one")).unwrap().1;
    assert!(place.is(&shop) && other.current_dot.is(&app));
}

#[test]
fn no_dot_takes_the_place_of_one_that_is_deleted() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    let file = ConfigFile::new(path.clone());
    let (app, other) = ("app".parse().unwrap(), "other".parse().unwrap());
    let remove = |dot| file.update(|config| Ok(config.node_mut(Path::new("/s")).remove_dot(dot)));
    let current = || file.load().unwrap().node(Path::new("/s")).current_dot;
    assert!(!remove(&app).unwrap());
    assert_eq!(current(), CurrentDot::Unset);
    file.update(|config| {
        config.node_mut(Path::new("/s")).current_dot = CurrentDot::Selected(app.clone());
        Ok(())
    })
    .unwrap();
    assert!(!remove(&other).unwrap());
    assert_eq!(current(), CurrentDot::Selected(app.clone()));
    assert!(remove(&app).unwrap());
    assert_eq!(current(), CurrentDot::Deleted);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""current_dot": null"#), "{text}");

    let error = |current: &CurrentDot, dots: &[&str]| {
        let dots: Vec<_> = dots.iter().map(|dot| dot.parse().unwrap()).collect();
        no_current_dot(current, &dots).render()
    };
    assert_snapshot!(error(&CurrentDot::Deleted, &["other"]), @r"
    Error: No current dot is selected: the previous one was deleted.
    hint: Select the only one with 'dm switch other'.
    ");
    assert_snapshot!(error(&CurrentDot::Selected(app), &["other", "third"]), @r"
    Error: No current dot is selected: 'app' does not exist any more.
    hint: List them with 'dm list' and select one with 'dm switch DOT'.
    ");
    assert_snapshot!(error(&CurrentDot::Unset, &[]), @r"
    Error: No current dot is selected.
    hint: There are no dots yet: make one with 'dm init', get one with 'dm clone', or start an app whose volumes use the driver 'dm'.
    ");
}

#[test]
fn updates_at_the_same_time_are_all_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let file = ConfigFile::new(path.clone());
            scope.spawn(move || {
                for n in 0..10 {
                    let name = format!("r{writer}-{n}").parse().unwrap();
                    file.update(|config| {
                        config.remotes.insert(name, remote("key"));
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(ConfigFile::new(path).load().unwrap().remotes.len(), 80);
}

#[test]
fn a_failed_update_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    let file = ConfigFile::new(path.clone());
    file.update(|config| {
        config.remotes.insert("hub".parse().unwrap(), remote("key"));
        Err::<(), _>(dotmesh_cli::error::CliError::declined())
    })
    .unwrap_err();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let file = ConfigFile::new(path.clone());
        let error = file.update(|_| Ok(())).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        error.render().replace(path.to_str().unwrap(), "FILE")
    };
    assert_snapshot!(check("{\"CurrentRemote\": \"local\"}"), @r"
    Error: cannot understand the config file FILE: missing field `version` at line 1 column 26
    hint: Repair it, move it away, or use another one with --config.
    ");
    assert_snapshot!(check("{\"version\": 9, \"more\": 1}"), @r"
    Error: the config file FILE has format version 9, but this 'dm' reads version 1
    hint: Upgrade 'dm', or use another file with --config.
    ");
    assert_snapshot!(check("not json"), @r"
    Error: cannot understand the config file FILE: expected ident at line 1 column 2
    hint: Repair it, move it away, or use another one with --config.
    ");
}

#[test]
fn a_symbolic_link_stays_one() {
    let home = tempfile::tempdir().unwrap();
    let (link, real) = (home.path().join("config"), home.path().join("real"));
    std::fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let add = |config: &mut Config| {
        config.remotes.insert("hub".parse().unwrap(), remote("key"));
        Ok(())
    };
    ConfigFile::new(link.clone()).update(add).unwrap();
    assert!(link.is_symlink());
    assert_eq!(ConfigFile::new(real).load().unwrap().remotes.len(), 1);
}

fn names() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,20}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_kept_comes_back(
        remotes in prop::collection::btree_map("[a-z][a-z0-9.-]{0,9}", (names(), ".*", ".*"), 0..4),
        nodes in prop::collection::btree_map(
            ".*",
            (prop::option::of(prop::option::of((names(), names()))), prop::collection::btree_map(names(), names(), 0..3)),
            0..3,
        ),
    ) {
        let mut config = Config::default();
        for (name, (user, address, key)) in remotes {
            let name: dotmesh_cli::config::RemoteName = name.parse().unwrap();
            let user = user.parse().unwrap();
            config.remotes.insert(name.clone(), Remote::with_account(address, user, SavedApiKey::new(key)));
            config.default_remote = Some(name);
        }
        for (socket, (current, upstreams)) in nodes {
            let node = config.node_mut(Path::new(&socket));
            node.current_dot = match current {
                None => CurrentDot::Unset,
                Some(None) => CurrentDot::Deleted,
                Some(Some((ns, dot))) => CurrentDot::Selected(format!("{ns}/{dot}").parse().unwrap()),
            };
            let upstreams = upstreams.iter().map(|(l, r)| (l.parse().unwrap(), r.parse().unwrap()));
            node.upstreams.insert("hub".parse().unwrap(), upstreams.collect());
        }
        let home = tempfile::tempdir().unwrap();
        let file = ConfigFile::new(home.path().join("config"));
        let kept = config.clone();
        file.update(|empty| { *empty = kept; Ok(()) }).unwrap();
        prop_assert_eq!(file.load().unwrap(), config);
    }
}

#[test]
fn a_remote_is_chosen_by_its_name_or_by_its_hubs_address() {
    let mut config = Config::default();
    config.put_remote("hub".parse().unwrap(), remote("key"));
    let chosen = |text: &str| choose_remote(&config, Some(text), Direction::Push);
    for text in [
        "hub",
        "https://dothub.com",
        "https://DotHub.com/",
        "dothub.com",
        "dothub.com:443",
    ] {
        assert_eq!(chosen(text).unwrap().0.to_string(), "hub", "{text}");
    }
    // An address with another scheme is another hub, which must not get the key.
    let refused = chosen("http://dothub.com").unwrap_err().render();
    assert!(refused.contains("dm login http://dothub.com"), "{refused}");
    for text in ["https://a b", "dothub.com:80", "other.com"] {
        assert!(chosen(text).is_err(), "{text}");
    }
}

#[test]
fn a_choice_counts_around_its_place_and_is_not_replaced_silently() {
    let mut config = Config::default();
    let node = config.node_mut(Path::new("/s"));
    let dot = |name: &str| name.parse::<DotName>().unwrap();
    node.choose(Path::new("/src/shop"), &dot("shop"));
    node.choose(Path::new("/src/shop/tools"), &dot("tools"));
    let chosen = |node: &NodeConfig, folder: &str| {
        let (_, dot) = node.chosen_around(Path::new(folder))?;
        Some(dot.name().map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(chosen(node, "/src/shop/web/css").as_deref(), Some("shop"));
    assert_eq!(chosen(node, "/src/shop/tools").as_deref(), Some("tools"));
    assert_eq!(chosen(node, "/src/shopping"), None);

    assert!(node.remove_dot(&dot("tools")));
    assert_eq!(
        chosen(node, "/src/shop/tools").as_deref(),
        Some(""),
        "no other one takes its place"
    );
    assert_eq!(chosen(node, "/src/shop").as_deref(), Some("shop"));
}

#[test]
fn a_remote_keeps_what_belongs_to_it_under_another_name() {
    let mut config = Config::default();
    let [hub, work, other] = ["hub", "work", "other"].map(|name| name.parse().unwrap());
    config.put_remote(hub, remote("key"));
    config.put_remote(other, remote("other"));
    let dot: DotName = "app".parse().unwrap();
    let socket = Path::new("/run/api.sock");
    let upstreams = [(dot.clone(), "bob/app".parse().unwrap())];
    let node = config.node_mut(socket);
    node.upstreams
        .insert("hub".parse().unwrap(), upstreams.into());
    let [hub, other] = ["hub", "other"].map(|name| name.parse().unwrap());
    for (from, to) in [(&work, &other), (&hub, &other), (&hub, &hub)] {
        assert!(config.rename_remote(from, to).is_err(), "{from} {to}");
    }
    config.rename_remote(&hub, &work).unwrap();
    assert_eq!(config.default_remote.as_ref(), Some(&work));
    assert_eq!(config.remote(&work).unwrap(), &remote("key"));
    assert!(config.remote(&hub).is_err());
    let upstream = config.node(socket).upstream(&work, &dot).cloned();
    assert_eq!(upstream, Some("bob/app".parse().unwrap()));
}

#[test]
fn a_logout_forgets_all_remotes_of_a_hub() {
    let mut config = Config::default();
    let mut add = |name: &str, address: &str| {
        let remote = Remote {
            address: address.to_owned(),
            ..remote("key")
        };
        config.put_remote(name.parse().unwrap(), remote);
    };
    add("first", "https://dothub.com");
    add("here", "http://localhost:8180");
    add("other", "https://other.example.com");
    add("second", "https://dothub.com");
    let mut names = |hub: Option<&str>| {
        let hub = hub.map(|hub| hub.parse().unwrap());
        let gone = logout::forget(&mut config, hub.as_ref());
        gone.map(|gone| {
            gone.iter()
                .map(|(name, _)| name.to_string())
                .collect::<Vec<_>>()
        })
        .map_err(|error| error.message().to_owned())
    };
    assert_eq!(names(Some("localhost:8180")), Ok(vec!["here".to_owned()]));
    let selected = ["first", "second"].map(str::to_owned).to_vec();
    assert_eq!(names(None), Ok(selected));
    assert_snapshot!(names(None).unwrap_err(), @"no remote is selected, so name the hub");
    assert_snapshot!(names(Some("none.example.com")).unwrap_err(), @"there is no remote for that hub");
    assert_eq!(
        names(Some("other.example.com")),
        Ok(vec!["other".to_owned()])
    );
}

#[test]
fn what_is_known_of_a_dot_follows_its_new_name() {
    let [app, shop, other] = ["app", "shop", "other"].map(|name| name.parse::<DotName>().unwrap());
    let mut node = NodeConfig {
        current_dot: CurrentDot::Selected(app.clone()),
        ..NodeConfig::default()
    };
    node.choose(Path::new("/home/app"), &app);
    node.choose(Path::new("/home/other"), &other);
    node.previous.insert(app.clone(), "work".parse().unwrap());
    let upstream: DotName = "alice/app".parse().unwrap();
    let upstreams = [(app.clone(), upstream.clone())];
    let hub = "hub".parse().unwrap();
    node.upstreams
        .insert("hub".parse().unwrap(), upstreams.into());
    node.rename_dot(&app, &shop);
    assert!(node.current_dot.is(&shop));
    let chosen = |place: &str| node.places[Path::new(place)].name().cloned();
    assert_eq!(chosen("/home/app"), Some(shop.clone()));
    assert_eq!(chosen("/home/other"), Some(other));
    assert_eq!(node.previous.keys().collect::<Vec<_>>(), [&shop]);
    assert_eq!(node.upstream(&hub, &shop), Some(&upstream));
    assert_eq!(node.upstream(&hub, &app), None);
}
