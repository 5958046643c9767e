//! Storage files, JSON and formatters that chance damages: nothing panics, nothing hangs, counts add up.

use std::fs;
use std::io::Write;

use libtest_mimic::{Failed, Trial};

use crate::exporters::{Case, number};
use crate::hostile::assert_ended;
use crate::lab::dice::Dice;
use crate::lab::{Need, trial};

pub fn trials() -> Vec<Trial> {
    let plaso = [Need::Plaso];
    vec![trial(
        "damaged_storage_files_end_with_a_sentence_or_all_documents",
        &plaso,
        stores,
    )]
}

/// How many damages are tried of each sort.
fn rounds() -> u32 {
    number("DFAGENT_TEST_ROUNDS", 60)
}

/// Changes some bytes: single bits, whole bytes, runs of zeros, or a part in the place of another.
pub fn damage(dice: &mut Dice, content: &mut [u8]) {
    let size = u32::try_from(content.len()).unwrap();
    for _ in 0..=dice.roll_below(3) {
        let place = dice.roll_below(size) as usize;
        let run = (dice.roll_below(64) as usize).min(content.len() - place);
        match dice.roll_below(4) {
            0 => content[place] ^= 1 << dice.roll_below(8),
            1 => content[place] = u8::try_from(dice.roll_below(256)).unwrap_or(u8::MAX),
            2 => content[place..place + run].fill(0),
            _ => {
                let from = (dice.roll_below(size) as usize).min(content.len() - run);
                content.copy_within(from..from + run, place);
            }
        }
    }
}

fn stores() -> Result<(), Failed> {
    let case = Case::new();
    let store = case.make("generate.py", &["order"], &["--events", "3"]);
    let whole = fs::read(&store)?;
    let mut dice = Dice::new("damaged storage files");
    let damaged = case.path("damaged.plaso");
    let mut refused = 0;
    for round in 0..rounds() {
        let mut content = whole.clone();
        damage(&mut dice, &mut content);
        let mut file = fs::File::create(&damaged)?;
        file.write_all(&content)?;
        drop(file);
        let done = case.attempt_limited(&damaged, 30, 1 << 20);
        assert_ended(&case, &done, &format!("round {round}"));
        refused += u32::from(done.code != 0);
    }
    eprintln!("{refused} of {} refused", rounds());
    Ok(())
}
