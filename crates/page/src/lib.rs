//! The status page: what a person sees in a browser of a program that runs. What is on it is a [`View`], which the program
//! makes; how that looks, to whom it is shown and how it is served is here, and the same for both programs.

mod columns;
mod gate;
mod html;
mod options;
mod render;
mod server;
mod style;
mod table;
mod timeline;
mod view;

pub use columns::Columns;
pub use options::{Options, urls};
pub use server::{Door, PageServer};
pub use timeline::{Kind, Lane, Span, Timeline, Window};
pub use view::{Cell, Column, Figure, Part, Section, Table, Tone, View, clock_time, duration, grouped, moment};

use alppaca_callers::caller;
use alppaca_core::{clock, needs, text};
use alppaca_settings as settings;
