//! A cable between a machine and its network that delays packets and limits their rate, as a real network does.
//!
//! Both ends are TAP devices, and one thread carries each packet from one to the other. So everything below the
//! programs is real: TCP's handshakes, windows and losses. A proxy would hide round trips.
//!
//! `netem` does the same, but not every kernel has it.
#![expect(
    unsafe_code,
    reason = "the ioctl takes a pointer whose layout the compiler cannot check"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::ioctl::{Setter, ioctl};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_current_timer_slack};

use crate::host::Namespaces;

/// `TUNSETIFF` of the kernel's `linux/if_tun.h`.
const SET_DEVICE: u32 = 0x4004_54ca;
/// An Ethernet device.
const TAP: i16 = 2;
/// Packets have no header of the driver's own.
const PLAIN: i16 = 0x1000;

/// Longer than a packet. The devices have the usual 1,500 bytes, and a header.
const PACKET: usize = 2048;

/// How far a direction may be behind its rate, and catch up. A thread wakes up late by less than that.
const BEHIND: Duration = Duration::from_millis(1);

/// The speed of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Bits per second in each direction. Packets wait for their turn in the sender's queue, which is limited.
    pub rate: u64,
    /// How much longer a packet and the answer to it take than without the cable.
    pub round_trip: Duration,
}

impl Link {
    /// A local network: 1 Gbit/s, and 0.5 ms for a round trip.
    pub const LAN: Self = Self {
        rate: 1_000_000_000,
        round_trip: Duration::from_micros(500),
    };
    /// The internet: 100 Mbit/s, and 40 ms for a round trip.
    pub const WAN: Self = Self {
        rate: 100_000_000,
        round_trip: Duration::from_millis(40),
    };
}

/// `struct ifreq`
#[repr(C)]
struct Device {
    name: [u8; 16],
    flags: i16,
    unused: [u8; 22],
}

/// A cable. It is unplugged when this value is dropped.
#[derive(Debug)]
pub(crate) struct Cable {
    speed: Arc<Speed>,
    /// The thread ends when the other end of this is closed.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// The speed, which may change at any time.
#[derive(Debug)]
struct Speed {
    rate: AtomicU64,
    /// The delay in each direction, in nanoseconds.
    delay: AtomicU64,
}

impl Cable {
    /// Connects two network namespaces by a cable. Its ends are the devices of these names, which are down.
    pub(crate) fn plug_in(ends: [(&Namespaces, &str); 2], link: Link) -> anyhow::Result<Self> {
        let devices = ends.map(|(namespaces, name)| device(namespaces.pid(), name));
        let [first, second] = devices;
        let devices = [first?, second?];
        let speed = Arc::new(Speed {
            rate: AtomicU64::new(0),
            delay: AtomicU64::new(0),
        });
        let (end, ended) = UnixStream::pair()?;
        let carried = Arc::clone(&speed);
        let thread = thread::Builder::new()
            .name("cable".to_owned())
            .spawn(move || carry(&devices, &carried, &ended))?;
        let cable = Self {
            speed,
            end: Some(end),
            thread: Some(thread),
        };
        cable.set(link);
        Ok(cable)
    }

    /// Changes the speed. Packets that are on their way keep their time.
    pub(crate) fn set(&self, link: Link) {
        let delay = u64::try_from(link.round_trip.as_nanos() / 2).unwrap_or(u64::MAX);
        self.speed.rate.store(link.rate.max(1), Ordering::Relaxed);
        self.speed.delay.store(delay, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Open devices would keep the network namespaces alive.
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a device in the network namespace of a process.
fn device(process: u32, name: &str) -> anyhow::Result<OwnedFd> {
    let name = name.to_owned();
    let make = move || -> anyhow::Result<OwnedFd> {
        let namespace = File::open(format!("/proc/{process}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = open("/dev/net/tun", flags, Mode::empty()).context("open /dev/net/tun")?;
        let mut request = Device {
            name: [0; 16],
            flags: TAP | PLAIN,
            unused: [0; 22],
        };
        let bytes = name.as_bytes();
        // The last byte of a name is zero.
        let place = request.name[..15].get_mut(..bytes.len());
        place
            .context("a device's name is short")?
            .copy_from_slice(bytes);
        // SAFETY: this ioctl takes an `ifreq`, which the kernel reads, and writes the name back to.
        unsafe { ioctl(&device, Setter::<SET_DEVICE, _>::new(request)) }
            .with_context(|| format!("make the device {name}"))?;
        Ok(device)
    };
    // The thread enters the namespace for good, so it has to be one of its own.
    let made = thread::spawn(make).join();
    made.map_err(|_| anyhow!("making a device panicked"))?
}

/// One direction of a cable.
struct Direction<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// When the last packet has left the sender.
    free: Instant,
    /// The packets on their way, and when they arrive.
    travelling: VecDeque<(Instant, Box<[u8]>)>,
}

impl Direction<'_> {
    /// Takes packets as fast as the rate allows.
    fn take(&mut self, now: Instant, speed: &Speed) {
        let rate = speed.rate.load(Ordering::Relaxed);
        let delay = Duration::from_nanos(speed.delay.load(Ordering::Relaxed));
        let mut packet = [0; PACKET];
        while self.free <= now {
            let Ok(length) = rustix::io::read(self.from, &mut packet) else {
                return;
            };
            let sending = Duration::from_nanos(length as u64 * 8_000_000_000 / rate);
            self.free = self.free.max(now - BEHIND) + sending;
            let arrival = self.free.max(now) + delay;
            self.travelling
                .push_back((arrival, packet[..length].into()));
        }
    }

    /// Hands over what has arrived.
    fn deliver(&mut self, now: Instant) {
        while let Some((_, packet)) = self.travelling.pop_front_if(|(arrival, _)| *arrival <= now) {
            // A device that is down loses the packet, as in reality.
            let _ = rustix::io::write(self.to, &packet);
        }
    }

    /// Whether a packet would be taken, and when something is due otherwise.
    fn waits(&self, now: Instant) -> (bool, Option<Instant>) {
        let takes = self.free <= now;
        let due = self.travelling.front().map(|(arrival, _)| *arrival);
        let free = (!takes).then_some(self.free);
        (takes, [due, free].into_iter().flatten().min())
    }
}

/// Carries packets between two devices until the other end of `ended` is closed.
fn carry(devices: &[OwnedFd; 2], speed: &Speed, ended: &UnixStream) {
    // Otherwise the kernel wakes the thread up 50 µs late.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let [first, second] = [devices[0].as_fd(), devices[1].as_fd()];
    let mut directions = [(first, second), (second, first)].map(|(from, to)| Direction {
        from,
        to,
        free: Instant::now(),
        travelling: VecDeque::new(),
    });
    loop {
        let now = Instant::now();
        for direction in &mut directions {
            direction.deliver(now);
            direction.take(now, speed);
        }
        let waits = directions.each_ref().map(|direction| direction.waits(now));
        let due = waits.iter().filter_map(|(_, due)| *due).min();
        let timeout = due.map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut watched = vec![PollFd::new(ended, PollFlags::IN)];
        for (direction, (takes, _)) in directions.iter().zip(waits) {
            if takes {
                watched.push(PollFd::from_borrowed_fd(direction.from, PollFlags::IN));
            }
        }
        let polled = poll(&mut watched, timeout.as_ref());
        if polled.is_ok() && !watched[0].revents().is_empty() {
            return;
        }
    }
}
