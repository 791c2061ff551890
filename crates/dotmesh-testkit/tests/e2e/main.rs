//! End-to-end tests of Dotmesh: the real `dm`, `dotmeshd` and `dothub`, with Docker, Compose, Redis and PostgreSQL.
//!
//! Each test has its own machines. `world` has the code that they share.

mod addresses;
mod bad_input;
mod boot;
mod branches;
mod browser;
mod carrying;
mod closed_pool;
mod commands_as_shown;
mod daily;
mod databases;
mod deletion;
mod demo;
mod disk;
mod engines;
mod first_steps;
mod forks;
mod history;
mod hook;
mod hub_image;
mod hub_pages;
mod import;
mod interrupted;
mod json;
mod managed_plugin;
mod one_instant;
mod orphans;
mod people;
mod podman;
mod pushed_rows;
mod remote_branches;
mod rootless;
mod rows;
mod run;
mod screenshots;
mod sql_session;
mod survival;
mod switching;
mod tour;
mod transfers;
mod tutorial;
mod undo;
mod volumes;
mod which_dot;
mod world;
