//! Throwaway containers: made for one question, labelled, and removed whatever happens.

use std::collections::HashMap;
use std::pin::Pin;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ExecConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListVolumesOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions,
};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::failures::failed;
use super::{EngineError, answers, terminal};

type Result<T> = std::result::Result<T, EngineError>;

/// The label of throwaway containers and their volumes. Its value names the daemon.
const LABEL: &str = "io.dotmesh.rows";

/// The limits of a container.
const MEMORY: i64 = 2 << 30;
const CPUS: i64 = 2_000_000_000;
const PROCESSES: i64 = 256;

/// The most that is kept of what a program says about its failure, in bytes.
const MOST_SAID: usize = 16 << 10;

/// What throwaway containers are made with.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) client: Docker,
    /// The address of the Engine.
    pub(crate) host: String,
    /// The Engine's name for this daemon's volume driver.
    pub(crate) driver: String,
    /// Tells this daemon from others of the same Engine.
    pub(crate) mark: String,
}

/// A container to make.
pub(crate) struct Plan {
    pub(crate) image: String,
    /// What `sh -c` runs.
    pub(crate) script: String,
    /// `UID:GID`
    pub(crate) user: String,
    /// A volume of this daemon's driver, and where it is mounted.
    pub(crate) volume: String,
    pub(crate) target: String,
    /// Its share of the CPU if others want it, too. `None` means the Engine's default.
    pub(crate) cpu_shares: Option<i64>,
}

/// An image of this machine.
#[derive(Debug, Clone)]
pub(crate) struct LocalImage {
    pub(crate) id: String,
    /// `repository:tag`
    pub(crate) tags: Vec<String>,
    /// `repository@sha256:…`
    pub(crate) digests: Vec<String>,
}

/// A program to run in a container.
pub(crate) struct Program {
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) input: Input,
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
}

/// What a program reads.
pub(crate) enum Input {
    Whole(Vec<u8>),
    /// As it comes, until the channel is closed.
    Live(mpsc::Receiver<Typed>),
}

/// A piece of a program's input.
pub(crate) enum Typed {
    Bytes(Bytes),
    /// The size of its terminal.
    Window {
        rows: u16,
        columns: u16,
    },
}

/// A piece of a program's output, or why it has failed.
pub(crate) type Piece = std::result::Result<Bytes, String>;

/// The output of a program.
type Pieces = BoxStream<'static, Result<LogOutput>>;

/// The input of a program.
type Stdin = Pin<Box<dyn AsyncWrite + Send>>;

impl Workshop {
    fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(LABEL.to_owned(), self.mark.clone())])
    }

    /// Makes and starts a container. If that fails, nothing is left of it.
    pub(crate) async fn start(&self, plan: &Plan) -> Result<String> {
        let volume = VolumeCreateRequest {
            name: Some(plan.volume.clone()),
            driver: Some(self.driver.clone()),
            labels: Some(self.labels()),
            ..VolumeCreateRequest::default()
        };
        self.client.create_volume(volume).await.map_err(failed)?;
        let mount = Mount {
            target: Some(plan.target.clone()),
            source: Some(plan.volume.clone()),
            typ: Some(MountType::VOLUME),
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        };
        let tmpfs = "rw,nosuid,nodev,noexec,size=256m,mode=1777".to_owned();
        let host = HostConfig {
            network_mode: Some("none".to_owned()),
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            nano_cpus: Some(CPUS),
            cpu_shares: plan.cpu_shares,
            pids_limit: Some(PROCESSES),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmpfs)])),
            mounts: Some(vec![mount]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([("max-size".to_owned(), "1m".to_owned())])),
            }),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(plan.image.clone()),
            entrypoint: Some(vec!["sh".to_owned(), "-c".to_owned()]),
            cmd: Some(vec![plan.script.clone()]),
            user: Some(plan.user.clone()),
            working_dir: Some("/tmp".to_owned()),
            labels: Some(self.labels()),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let options: Option<CreateContainerOptions> = None;
        let made = self.client.create_container(options, body).await;
        let id = match made.map_err(failed) {
            Ok(made) => made.id,
            Err(error) => {
                self.remove_volume(&plan.volume).await;
                return Err(error);
            }
        };
        if let Err(error) = self.client.start_container(&id, None).await.map_err(failed) {
            self.remove(&id, &plan.volume).await;
            return Err(error);
        }
        Ok(id)
    }

    /// Removes a container and its volume.
    pub(crate) async fn remove(&self, id: &str, volume: &str) {
        remove_container(&self.client, id).await;
        self.remove_volume(volume).await;
    }

    /// Ends a container. Whoever made it removes it.
    pub(crate) async fn end(&self, id: &str) {
        let _ = self.client.kill_container(id, None).await;
    }

    async fn remove_volume(&self, volume: &str) {
        let options: Option<RemoveVolumeOptions> = None;
        if let Err(error) = self.client.remove_volume(volume, options).await {
            tracing::warn!(%volume, %error, "cannot remove the volume of a throwaway container");
        }
    }

    /// The images of this machine.
    pub(crate) async fn images(&self) -> Result<Vec<LocalImage>> {
        let options = ListImagesOptionsBuilder::new().build();
        let images = self
            .client
            .list_images(Some(options))
            .await
            .map_err(failed)?;
        let images = images.into_iter().map(|image| LocalImage {
            id: image.id,
            tags: image.repo_tags,
            digests: image.repo_digests,
        });
        Ok(images.collect())
    }

    /// The last lines that a container printed.
    pub(crate) async fn said(&self, id: &str) -> String {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail("40")
            .build();
        let mut lines = self.client.logs(id, Some(options));
        let mut said = String::new();
        while let Some(Ok(line)) = lines.next().await {
            said.push_str(&line.to_string());
            if said.len() > MOST_SAID {
                break;
            }
        }
        said
    }

    /// Runs a program in a container, and passes its output on. An empty piece is the end.
    pub(crate) async fn run(&self, id: &str, program: Program, pieces: mpsc::Sender<Piece>) {
        let last = match self.pass_on(id, program, &pieces).await {
            Ok(Ok(())) => Ok(Bytes::new()),
            Ok(Err(said)) => Err(said),
            Err(error) => Err(error.to_string()),
        };
        let _ = pieces.send(last).await;
    }

    async fn pass_on(
        &self,
        id: &str,
        program: Program,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<std::result::Result<(), String>> {
        let name = program.command.first().cloned().unwrap_or_default();
        let environment = program.environment.iter();
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(program.terminal),
            env: Some(
                environment
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            cmd: Some(program.command),
            ..ExecConfig::default()
        };
        let exec = self
            .client
            .create_exec(id, config)
            .await
            .map_err(failed)?
            .id;
        let exec = exec.as_str();
        let (mut output, mut input) = match program.terminal {
            true => self.on_terminal(exec).await?,
            false => self.attached(exec, &name).await?,
        };
        let given = program.input;
        let writing = async move {
            match given {
                Input::Whole(given) => drop(input.write_all(&given).await),
                Input::Live(mut typed) => {
                    while let Some(one) = typed.recv().await {
                        self.pass_in(exec, &mut input, one).await;
                    }
                }
            }
            let _ = input.shutdown().await;
            // The connection stays open, as it is also that of the output.
            input
        };
        let mut said = Vec::new();
        let reading = async {
            while let Some(piece) = output.next().await {
                match piece? {
                    LogOutput::StdOut { message } | LogOutput::Console { message }
                        if message.is_empty() => {}
                    LogOutput::StdOut { message } | LogOutput::Console { message } => {
                        let sent = pieces.send(Ok(message)).await;
                        if sent.is_err() {
                            return Ok(false);
                        }
                    }
                    LogOutput::StdErr { message } if said.len() < MOST_SAID => {
                        said.extend_from_slice(&message);
                    }
                    _ => {}
                }
            }
            Ok(true)
        };
        let is_read = {
            let (mut reading, writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
            tokio::select! {
                // A program may end before it has read everything.
                is_read = &mut reading => is_read,
                _input = writing => reading.await,
            }
        };
        if !is_read? {
            return Ok(Ok(()));
        }
        let ended = self.client.inspect_exec(exec).await.map_err(failed)?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Ok(match ended.exit_code {
            Some(0) => Ok(()),
            // A person has seen what failed, and has ended it.
            Some(code) if program.terminal && code != 137 => Ok(()),
            // The whole container was ended, or the program needed too much memory.
            None | Some(137) if said.is_empty() => Err(format!(
                "{name} was ended: it may have needed too much memory"
            )),
            code if said.is_empty() => Err(format!(
                "{name} has failed with code {}",
                code.unwrap_or(-1)
            )),
            _ => Err(said),
        })
    }

    /// Starts a program without a terminal.
    async fn attached(&self, exec: &str, name: &str) -> Result<(Pieces, Stdin)> {
        let options = StartExecOptions {
            detach: false,
            tty: false,
            output_capacity: Some(128 << 10),
        };
        let started = self.client.start_exec(exec, Some(options)).await;
        match started.map_err(failed)? {
            StartExecResults::Attached { output, input } => {
                Ok((output.map_err(failed).boxed(), input))
            }
            StartExecResults::Detached => Err(EngineError::Refused(format!(
                "Docker does not attach to {name}"
            ))),
        }
    }

    /// Starts a program on a terminal.
    async fn on_terminal(&self, exec: &str) -> Result<(Pieces, Stdin)> {
        let connection = terminal::start(&self.client, &self.host, exec).await?;
        let (screen, keyboard) = tokio::io::split(connection);
        let output = futures::stream::unfold(screen, async |mut screen| {
            let mut message = BytesMut::with_capacity(32 << 10);
            let piece = match screen.read_buf(&mut message).await {
                Ok(0) => return None,
                Ok(_) => Ok(LogOutput::Console {
                    message: message.freeze(),
                }),
                Err(error) => Err(EngineError::Unreachable(error.to_string())),
            };
            Some((piece, screen))
        });
        Ok((output.boxed(), Box::pin(keyboard)))
    }

    /// Passes a piece of input on. A program that has ended reads nothing.
    async fn pass_in(&self, exec: &str, input: &mut (impl AsyncWrite + Unpin), typed: Typed) {
        match typed {
            Typed::Bytes(bytes) => {
                let _ = input.write_all(&bytes).await;
                let _ = input.flush().await;
            }
            Typed::Window { rows, columns } => {
                let size = ResizeExecOptions {
                    height: rows,
                    width: columns,
                };
                let _ = self.client.resize_exec(exec, size).await;
            }
        }
    }
}

async fn remove_container(client: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    match client
        .remove_container(id, Some(options))
        .await
        .map_err(failed)
    {
        Ok(()) | Err(EngineError::Gone) => {}
        Err(error) => tracing::warn!(%id, %error, "cannot remove a throwaway container"),
    }
}

/// Removes what a killed daemon has left: containers that read images, and throwaway containers with their volumes.
pub(super) async fn remove_leftovers(client: &Docker, copies: &str, mark: &str) {
    for label in [copies.to_owned(), format!("{LABEL}={mark}")] {
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters);
        let left = answers::containers(client, Some(options.build())).await;
        for id in left
            .unwrap_or_default()
            .into_iter()
            .filter_map(|one| one.id)
        {
            remove_container(client, &id).await;
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let left = client.list_volumes(Some(options)).await;
        for volume in left.ok().and_then(|left| left.volumes).unwrap_or_default() {
            let options: Option<RemoveVolumeOptions> = None;
            let _ = client.remove_volume(&volume.name, options).await;
        }
    }
}
