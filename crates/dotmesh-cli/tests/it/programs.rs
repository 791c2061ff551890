//! The program as other programs run it: JSON, no questions, completions; and what is different on a terminal.

use std::process::{Command, Stdio};

use insta::assert_snapshot;
use serde_json::Value;

use crate::binary::Home;

fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8(output.to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn with_remote() -> Home {
    let home = Home::new();
    let config = r#"{"version": 1, "default_remote": "hub", "remotes": {"hub":
        {"user": "alice", "address": "https://dothub.com", "api_key": "secret"}}}"#;
    std::fs::create_dir(home.path().join(".dotmesh")).unwrap();
    std::fs::write(home.path().join(".dotmesh/config"), config).unwrap();
    home
}

#[test]
fn a_result_is_one_document_on_standard_output() {
    let home = with_remote();
    assert_snapshot!(home.run("remote --json"), @r#"
    {
      "remotes": [
        {
          "remote": "hub",
          "user": "alice",
          "address": "https://dothub.com",
          "is_default": true
        }
      ]
    }
    ---
    --- 0
    "#);
    // People are told more, a program is not.
    assert_snapshot!(Home::new().run("--json remote"), @r#"
    {
      "remotes": []
    }
    ---
    --- 0
    "#);
    assert_snapshot!(home.run("remote rename hub lab --json"), @r#"
    {
      "from": "hub",
      "to": "lab"
    }
    ---
    --- 0
    "#);
}

#[test]
fn an_error_is_one_document_on_standard_error() {
    let home = Home::new();
    assert_snapshot!(home.run("--json list"), @r#"
    ---
    {"error":{"code":"node_unreachable","message":"cannot reach the Dotmesh node at $HOME/api.sock","cause":"No such file or directory (os error 2)","hint":"Start Dotmesh with 'sudo dm cluster init'.\nIf the node listens at another path, set DOTMESH_SOCKET to that path."}}
    --- 3
    "#);
    assert_snapshot!(home.run("pull hub --json"), @r#"
    ---
    {"error":{"code":"no_remote","message":"No such remote 'hub'","cause":null,"hint":"List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'."}}
    --- 1
    "#);
    // The command line cannot even be parsed.
    let output = home.command("--json pushh").output().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "usage");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    // What is known is printed all the same.
    let output = home.command("version --json").output().unwrap();
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["client"], env!("CARGO_PKG_VERSION"));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "node_unreachable");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn quiet_leaves_results_and_errors() {
    let home = Home::new();
    assert_snapshot!(home.run("-q remote"), @r"
    ---
    --- 0
    ");
    assert_snapshot!(home.run("-q remote rm hub"), @r"
    ---
    Error: No such remote 'hub'
    hint: List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.
    --- 1
    ");
}

#[test]
fn nobody_reading_json_is_no_failure() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = home.command("remote --json");
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn();
    let output = output.unwrap().wait_with_output().unwrap();
    assert_snapshot!(home.shown(&output), @r"
    ---
    --- 0
    ");
}

#[test]
fn the_config_file_is_where_xdg_says_or_where_it_was() {
    let home = with_remote();
    let names = |command: &mut Command| lines(&command.output().unwrap().stdout);
    assert_eq!(names(&mut home.command("remote")), ["hub"]);
    home.command("remote switch hub").output().unwrap();
    assert!(
        !home.path().join(".config").exists(),
        "the old file is used"
    );
    // A new one comes first, and is made where there is none.
    let elsewhere = home.path().join("xdg");
    let mut command = home.command("remote");
    command.env("XDG_CONFIG_HOME", &elsewhere);
    assert_eq!(names(&mut command), ["hub"]);
    std::fs::create_dir_all(elsewhere.join("dotmesh")).unwrap();
    std::fs::write(elsewhere.join("dotmesh/config"), "").unwrap();
    assert!(names(&mut command).is_empty());
    std::fs::remove_file(home.path().join(".dotmesh/config")).unwrap();
    let file = home.path().join(".config/dotmesh/config");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, r#"{"version": 1, "remotes": {}}"#).unwrap();
    assert!(names(&mut home.command("remote")).is_empty());
}

#[test]
fn compose_is_found_by_one_rule() {
    let home = Home::new();
    let programs = home.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(home.path().join("compose.yaml"), "services: {}\n").unwrap();
    // Two generations that cannot read the file, and containers that the first one made.
    let docker = "#!/bin/sh\ncase \"$*\" in 'ps -a'*) cat $HOME/made ;; 'compose version'*) echo 2.26.1 ;; *) exit 1 ;; esac\n";
    let first = "#!/bin/sh\ncase \"$*\" in version*) echo 1.29.2 ;; *) exit 1 ;; esac\n";
    for (name, text) in [
        ("docker", docker),
        ("docker-compose", first),
        ("mine", first),
    ] {
        let path = programs.join(name);
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    let said = |made: &str, chosen: &str| {
        std::fs::write(home.path().join("made"), made).unwrap();
        let mut import = home.command("import --compose");
        let path = format!("{}:/usr/bin:/bin", programs.display());
        import.env("PATH", path).env("DOTMESH_COMPOSE", chosen);
        let said = home.shown(&import.output().unwrap());
        said.lines().nth(1).unwrap().to_owned()
    };
    let failed = |program: &str| format!("Error: '{program} config' failed: ");
    assert_eq!(said("", ""), failed("docker compose"));
    assert_eq!(said("2.26.1\n", ""), failed("docker compose"));
    assert_eq!(said("\n1.29.2\n", ""), failed("docker-compose"));
    assert_eq!(said("1.29.2\n", "docker compose"), failed("docker compose"));
    assert_eq!(said("", "mine"), failed("mine"));
    assert_eq!(said("", "nowhere"), "Error: there is no Docker Compose");
}

/// What a shell gets for the last of these words.
fn completions(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = home.command("");
    command
        .env("DOTMESH_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
        .env("_CLAP_IFS", "\n")
        .arg("--")
        .args(words);
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    lines(&output.stdout)
}

#[test]
fn a_shell_completes_commands_options_and_names() {
    let home = with_remote();
    assert_eq!(completions(&home, &["dm", "sta"]), ["status", "stash"]);
    assert!(completions(&home, &["dm", "status", "--js"]).contains(&"--json".to_owned()));
    for words in [
        &["dm", "push", "h"] as &[&str],
        &["dm", "remote", "rm", ""],
        &["dm", "open", "--remote", ""],
    ] {
        assert!(
            completions(&home, words).contains(&"hub".to_owned()),
            "{words:?}"
        );
    }
    // Without a node there are no names of dots, and nobody is told.
    assert!(completions(&home, &["dm", "switch", "x"]).is_empty());
    for shell in ["bash", "zsh", "fish"] {
        let output = home
            .command("")
            .env("DOTMESH_COMPLETE", shell)
            .output()
            .unwrap();
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("COMPLETE="),
            "{shell}"
        );
    }
}

#[test]
fn arguments_are_completed_by_what_they_name() {
    let mut found = Vec::new();
    let mut dm = <dotmesh_cli::cli::Cli as clap::CommandFactory>::command();
    dm.build();
    collect(&dm, "", &mut found);
    assert_snapshot!(found.join("\n"));
}

fn collect(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    for argument in command.get_arguments() {
        let kind = dotmesh_cli::complete::kind(path, argument);
        // An option of all commands is told once.
        if let Some(kind) = kind.filter(|_| path.is_empty() || !argument.is_global_set()) {
            let name = argument.to_string();
            found.push(format!("{path} {name}: {kind:?}"));
        }
    }
    for inner in command.get_subcommands() {
        let path = format!("{path} {}", inner.get_name());
        collect(inner, path.trim_start(), found);
    }
}

#[test]
fn git_s_commands_are_found_in_the_help() {
    let home = Home::new();
    let help = home.run("help git");
    assert!(help.contains("git log, --oneline"), "{help}");
    assert!(
        help.contains("(undo)") && !help.contains('`') && !help.contains("]("),
        "{help}"
    );
    let json = home.command("help git --json").output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["commands"].as_array().unwrap().len() > 15);
    assert_eq!(json["commands"][1]["dm"], "dm status");
    // All other words are commands of dm.
    let text = |arguments: &str| home.command(arguments).output().unwrap().stdout;
    assert_eq!(text("help push"), text("push --help"));
    assert_eq!(text("help stash pop"), text("stash pop --help"));
    assert_eq!(text("help"), text("--help"));
    assert_snapshot!(home.run("help pushh"), @r"
    ---
    Error: unrecognized subcommand 'pushh'
    hint: List the subcommands with 'dm help'.
    --- 2
    ");
}

#[test]
fn each_command_has_a_man_page() {
    let home = Home::new();
    assert_snapshot!(home.run("man ."), @r"
    ---
    --- 0
    ");
    let page = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert!(page("dm.1").contains("Exit codes"));
    assert!(page("dm-stash-pop.1").contains("drop the stash"));
    assert!(!home.path().join("dm-man.1").exists());
}

/// What a terminal shows.
fn on_terminal(home: &Home, arguments: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("script");
    command
        .args(["-q", "-e", "-c"])
        .arg(format!("{} {arguments}", env!("CARGO_BIN_EXE_dm")))
        .arg("/dev/null")
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .env("DOTMESH_SOCKET", home.path().join("api.sock"))
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.replace("\r\n", "\n").replace('\u{1b}', "^")
}

#[test]
fn a_terminal_gets_colours_unless_the_user_wants_none() {
    let home = Home::new();
    assert_snapshot!(on_terminal(&home, "remote rm hub", &[]), @r"
    ^[31mError:^[0m No such remote 'hub'
    ^[36mhint:^[0m List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.
    ");
    let plain = "Error: No such remote 'hub'";
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = on_terminal(&home, "remote rm hub", &[variable]);
        assert!(shown.starts_with(plain), "{shown}");
    }
}
