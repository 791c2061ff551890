//! Data from local volumes, folders and archives becomes subdots, and goes back.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

const COMPOSE_FILE: &str = "version: '3.8'
services:
  db:
    image: postgres:15
    environment: {POSTGRES_USER: postgres, POSTGRES_DB: postgres, POSTGRES_PASSWORD: secret}
    volumes: ['db:/var/lib/postgresql/data']
  redis:
    image: redis:7
    command: redis-server --appendonly yes --appendfsync always
    volumes: ['redis:/data']
  files:
    image: debian:bookworm-slim
    command: sleep infinity
    init: true
    volumes: ['files.v1:/files', './src:/src', '/cache']
  idle:
    image: debian:bookworm-slim
    command: 'true'
    volumes: ['files.v1:/files']
volumes:
  db: {}
  redis:
  files.v1:
    driver: local
";

/// Prints everything about the files of a folder but their inodes.
const DESCRIBE: &str = "find . -printf '%P %y %m %U:%G %T@ %l\\n' | sort; find . -type f -printf '%n %s %P\\n' | sort; \
     find . -type f -exec sha256sum {} + | sort; getfattr -Rhd -m - . | sort; getfacl -nR . | sort";

/// An app on local volumes.
struct Shop {
    node: Node,
    compose: &'static str,
    folder: PathBuf,
}

impl Shop {
    async fn start(node: Node, compose: &'static str) -> Result<Self> {
        let folder = node.machine.home().join("shop");
        fs::create_dir_all(folder.join("src"))?;
        fs::write(folder.join("docker-compose.yml"), COMPOSE_FILE)?;
        let shop = Self {
            node,
            compose,
            folder,
        };
        shop.ok(&format!("{compose} up -d")).await;
        shop.ready().await?;
        Ok(shop)
    }

    async fn ok(&self, line: &str) -> String {
        let output = self.node.machine.run_in(&self.folder, line).await;
        output.success().stdout
    }

    async fn says(&self, line: &str) -> String {
        let output = self.node.machine.run_in(&self.folder, line).await;
        output.success().stderr
    }

    async fn fails(&self, line: &str) -> String {
        let output = self.node.machine.run_in(&self.folder, line).await;
        output.failure().stderr
    }

    async fn ready(&self) -> Result<()> {
        wait_for("PostgreSQL to answer", SOON, async || {
            let line = format!(
                "{} exec -T db psql -U postgres -tAc 'select 1'",
                self.compose
            );
            let answer = self.node.machine.run_in(&self.folder, &line).await;
            ensure!(answer.stdout.trim() == "1", "{answer}");
            Ok(())
        })
        .await
    }

    async fn sql(&self, query: &str) -> String {
        let compose = self.compose;
        self.ok(&format!(
            "{compose} exec -T db psql -U postgres -tAc \"{query}\""
        ))
        .await
    }

    async fn redis(&self, command: &str) -> String {
        let compose = self.compose;
        self.ok(&format!("{compose} exec -T redis redis-cli {command}"))
            .await
    }

    /// Rows, keys, and files with all kinds of metadata.
    async fn fill(&self) {
        self.sql("create table orders as select i as id, md5(i::text) as code from generate_series(1, 20000) i").await;
        for (key, value) in [("visits", "7"), ("name", "shop")] {
            self.redis(&format!("set {key} {value}")).await;
        }
        let folder = self.node.folder_of("shop_files.v1").await;
        let lines = [
            "echo 'red shoes' > stock; ln stock again; ln -s /etc/passwd outside; mkfifo pipe",
            "mkdir -p deep/er; echo x > deep/er/file; chown -h 999:2000000 deep outside; chmod 4750 stock; chmod 2700 deep",
            "setfattr -n user.note -v kept stock; setfacl -m u:42:r stock; setfacl -d -m u:43:rwx deep",
            "truncate -s 100M holes; printf middle | dd of=holes bs=1 seek=50000000 conv=notrunc status=none",
            "touch -hd '1999-01-02 03:04:05.678901234' outside deep stock",
        ];
        self.ok(&format!("cd {folder}; {}", lines.join("; "))).await;
    }

    async fn rows(&self) -> String {
        self.sql("select * from orders order by id").await
    }

    /// The driver of each container's volumes.
    async fn drivers(&self) -> String {
        let format = "{{range .Mounts}}{{if .Driver}}{{.Name}}={{.Driver}} {{end}}{{end}}";
        let line = format!(
            "docker inspect -f '{format}' $({} ps -aq) | tr ' ' '\\n' | grep -v =local | sort -u",
            self.compose
        );
        self.ok(&line).await
    }
}

async fn moved(compose: &'static str) -> Result<()> {
    let network = Network::start().await?;
    let node = Node::start(&network, "alice").await?;
    let shop = Shop::start(node, compose).await?;
    shop.fill().await;
    let rows = shop.rows().await;
    assert_eq!(rows.lines().count(), 20000);
    let folder = shop.node.folder_of("shop_files.v1").await;
    let files = shop.ok(&format!("cd {folder}; {DESCRIBE}")).await;

    // A container that is not the project's own is in the way, and nothing is stopped for that.
    shop.ok("docker run -d --init --name stranger -v shop_redis:/data debian:bookworm-slim sleep infinity").await;
    let said = shop.fails("dm import --compose").await;
    assert!(
        said.contains("shop_redis") && said.contains("stranger") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(shop.redis("get visits").await, "7\n");
    shop.ok("docker rm -f stranger").await;

    // Volumes with data are left to the import: only dotmesh.toml is written.
    let said = shop.says("dm init --compose").await;
    for words in [
        "Wrote ",
        "dotmesh.toml",
        "has data already",
        "shop_db",
        "'dm import shop --compose'",
    ] {
        assert!(said.contains(words), "no '{words}' in {said}");
    }
    assert!(!shop.folder.join("compose.override.yaml").exists());

    let said = shop.says("dm import --compose").await;
    for words in [
        "shop_db",
        "shop_redis",
        "shop_files.v1",
        "compose.override.yaml",
        "src",
        "has no name",
    ] {
        assert!(said.contains(words), "no '{words}' in {said}");
    }
    assert_eq!(
        shop.drivers().await.trim(),
        "shop.db=dm\nshop.files-v1=dm\nshop.redis=dm"
    );
    shop.ready().await?;
    assert_eq!(shop.rows().await, rows, "row by row");
    assert_eq!(shop.redis("get visits").await, "7\n");
    let now = shop.node.folder_of("shop.files-v1").await;
    assert_eq!(shop.ok(&format!("cd {now}; {DESCRIBE}")).await, files);
    let blocks = shop.ok(&format!("stat -c %b {now}/holes")).await;
    assert!(
        blocks.trim().parse::<u64>()? < 1000,
        "holes stay holes: {blocks}"
    );
    let log = shop.ok("dm log --oneline").await;
    assert!(
        log.contains("Import shop_db, shop_files.v1, shop_redis"),
        "{log}"
    );
    assert_eq!(shop.node.dots().await, ["shop"]);

    // The service that had ended is not started, and Compose finds all in place.
    let before = shop.ok("docker ps -q --no-trunc | sort").await;
    assert_eq!(before.lines().count(), 3);
    let said = shop
        .says(&format!("{compose} up -d db redis files </dev/null"))
        .await;
    assert_eq!(
        shop.ok("docker ps -q --no-trunc | sort").await,
        before,
        "{said}"
    );

    // Running it again finds nothing to do, and says so.
    let again = shop.fails("dm import --compose").await;
    for words in [
        "has no local volumes to import",
        "the Compose files lead db to a dot already",
        "If containers still have old volumes, make the containers anew",
    ] {
        assert!(again.contains(words), "no '{words}' in {again}");
    }

    // The old volumes are as they were.
    assert_eq!(shop.ok(&format!("cd {folder}; {DESCRIBE}")).await, files);

    // Branches.
    shop.ok("dm checkout -b empty").await;
    shop.sql("delete from orders").await;
    shop.redis("set visits 8").await;
    shop.ok("dm commit -m 'No orders'").await;
    shop.ok("dm checkout master").await;
    shop.ready().await?;
    assert_eq!(shop.rows().await, rows);
    assert_eq!(shop.redis("get visits").await, "7\n");
    shop.ok("dm checkout empty").await;
    shop.ready().await?;
    assert_eq!(shop.rows().await, "");

    // There and back: an archive, a folder and a volume have the same, also in a second dot.
    for line in [
        "dm export master files-v1 --tar files.tar",
        "dm export master files-v1 --dir files",
        "dm export master files-v1 --volume plain",
        "dm export master files-v1 --tar - | dm import other --tar -=one --tar files.tar=two --dir files=three --volume plain=four",
        "tar -tf files.tar > /dev/null",
    ] {
        shop.ok(line).await;
    }
    let plain = shop.node.folder_of("plain").await;
    let mut places = vec![shop.folder.join("files").display().to_string(), plain];
    for subdot in ["one", "two", "three", "four"] {
        shop.ok(&format!("docker volume create -d dm other.{subdot}"))
            .await;
        places.push(shop.node.folder_of(&format!("other.{subdot}")).await);
    }
    for place in places {
        assert_eq!(
            shop.ok(&format!("cd {place}; {DESCRIBE}")).await,
            files,
            "{place}"
        );
    }
    let said = shop
        .fails("dm --dot shop export master files-v1 --volume plain")
        .await;
    assert!(said.contains("not empty"), "{said}");
    let said = shop.fails("dm import other --dir files=one").await;
    assert!(said.contains("one") && said.contains("already"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_compose_1_moves_to_a_dot() -> Result<()> {
    moved("docker-compose").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_compose_2_moves_to_a_dot() -> Result<()> {
    moved("docker compose").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_cut_off_leaves_the_app_as_it_was() -> Result<()> {
    let network = Network::start().await?;
    let node = Node::start(&network, "alice").await?;
    let mut shop = Shop::start(node, "docker compose").await?;
    shop.fill().await;
    let rows = shop.rows().await;
    let folder = shop.node.folder_of("shop_files.v1").await;
    shop.ok(&format!("head -c 600000000 /dev/urandom > {folder}/large"))
        .await;
    let containers = shop.ok("docker ps -q --no-trunc | sort").await;

    for dies in ["dm", "the daemon"] {
        let begun = "dm --progress=json import --compose > said 2>&1 & echo $! > pid; \
             until grep -q '\"copying volume .shop_files' said; do kill -0 $(cat pid) && sleep 0.02; done";
        shop.ok(begun).await;
        match dies {
            "dm" => drop(shop.ok("kill -INT $(cat pid)").await),
            _ => shop.node.daemon.kill9().await?,
        }
        wait_for("dm to end", SOON, async || {
            let alive = shop
                .ok("kill -0 $(cat pid) 2>/dev/null && echo yes || echo no")
                .await;
            ensure!(alive == "no\n", "{}", shop.ok("cat said").await);
            Ok(())
        })
        .await?;
        let said = shop.ok("cat said").await;
        assert!(said.contains("run as before"), "{dies}: {said}");
        if dies != "dm" {
            shop.node.daemon.start_again().await?;
            shop.node
                .daemon
                .wait_for_socket("/run/dotmesh/api.sock")
                .await?;
        }
        assert!(shop.node.dots().await.is_empty(), "{dies}");
        assert!(!shop.folder.join("compose.override.yaml").exists());
        assert_eq!(
            shop.ok("docker ps -q --no-trunc | sort").await,
            containers,
            "{dies}"
        );
        shop.ready().await?;
        assert_eq!(shop.rows().await, rows);
    }
    // Then it works, with an override file that is there already.
    fs::write(shop.folder.join("compose.override.yaml"), "services: {}\n")?;
    let lines = shop.ok("dm import --compose").await;
    assert_eq!(
        shop.ok("docker ps -q").await,
        "",
        "nothing runs on the old volumes"
    );
    let lines = lines.split_once("\n\n").context("the lines")?.1;
    fs::write(
        shop.folder.join("compose.override.yaml"),
        format!("version: '3.8'\n{lines}"),
    )?;
    shop.ok("docker compose down && docker compose up -d").await;
    shop.ready().await?;
    assert_eq!(shop.rows().await, rows);
    assert!(shop.drivers().await.contains("shop.db=dm"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_is_named() -> Result<()> {
    let network = Network::start().await?;
    let node = Node::start_with(&network, "alice", &["--pool-limit", "256M"]).await?;
    for (line, words) in [
        (
            "dm import new --volume absent=db",
            &["no volume 'absent'", "docker volume ls"][..],
        ),
        ("dm import new --dir absent=db", &["cannot open absent"]),
        ("dm import new --tar .=db", &["cannot read"]),
        ("dm import new", &["--compose"]),
        ("dm import --volume x=y", &["current dot"]),
        (
            "docker volume create -d dm app.db; dm import new --volume app.db=db",
            &["in a dot already"],
        ),
        (
            "docker volume create -o type=none -o o=bind -o device=/srv linked; dm import new --volume linked=db",
            &["/srv", "--dir"],
        ),
        (
            "mkdir -p evil; cd evil; echo x > f; tar -cPf ../evil.tar ../evil/f; cd ..; dm import new --tar evil.tar=db",
            &["leads out of the folder"],
        ),
        (
            "tar -czf small.tgz evil; dm import new --tar small.tgz=db",
            &["gzip", "gunzip -c"],
        ),
        (
            "head -c 100000 /dev/zero | tr '\\0' x > none.tar; dm import new --tar none.tar=db",
            &["not a tar archive"],
        ),
        (
            "mkdir -p void; cd void; dm import --compose",
            &["no Compose file"],
        ),
        (
            "mkdir -p big; truncate -s 1G big/holes; dm import full --dir big=db",
            &[],
        ),
        (
            "fallocate -l 400M big/file; dm import new --dir big=db",
            &["not enough space"],
        ),
    ] {
        let output = node.machine.run(line).await;
        if words.is_empty() {
            output.success();
            continue;
        }
        let said = output.failure().stderr;
        for word in words {
            assert!(said.contains(word), "{line}: no '{word}' in {said}");
        }
    }
    let dots = node.dots().await;
    assert!(!dots.contains(&"new".to_owned()), "{dots:?}");
    Ok(())
}
