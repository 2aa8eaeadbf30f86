//! Whether ops come in an order that their indices and times do not deny, and the time that each is given.

use super::super::fields::Fields;
use super::super::naming::Order;
use super::super::notation::Value;
use super::{Assembly, LATEST, Trouble};

impl Assembly<'_> {
    /// The time of the op that comes next, bent to its place.
    pub(super) fn time(&self, fields: &Fields<'_>) -> Result<u64, String> {
        // A step where there is no time: a millisecond, so that it can be read.
        let told = match told_time(fields) {
            Err(_) if self.naming.order == Order::File && !self.naming.leased => None,
            told => told?,
        };
        let time = told.unwrap_or_else(|| self.last.map_or(0, |last| last + 1_000_000));
        Ok(self.last.map_or(time, |last| time.max(last + 1)))
    }

    /// Whether what comes next may come next.
    pub(super) fn in_order(&mut self, line: usize, fields: &Fields<'_>) -> Result<(), Trouble> {
        let order = &mut self.order;
        if self.naming.order == Order::Usual
            && !order.useless
            && let Some(index) = fields.index.as_ref().and_then(Value::number)
        {
            match order.last_index {
                Some(last) if index <= last => {
                    // The same for all says nothing.
                    if order.first_index != Some(index) || order.first_index != Some(last) {
                        return Err(Trouble::Disorder);
                    }
                    order.useless = true;
                }
                _ => order.last_index = Some(index),
            }
            order.first_index = order.first_index.or(Some(index));
        }
        let time = fields.time.as_ref().and_then(Value::number).and_then(|time| u64::try_from(time).ok());
        if let Some(time) = time {
            order.earliest = Some(order.earliest.map_or(time, |earliest| earliest.min(time)));
            let back = order.latest.saturating_sub(time);
            if back > order.back.0 {
                order.back = (back, line);
            }
            order.latest = order.latest.max(time);
        }
        Ok(())
    }

    /// Whether times go back by more than those of one clock do, told by several threads: on which line, and by how
    /// much.
    pub(in super::super) fn goes_back(&self) -> Option<(usize, u64)> {
        let (back, line) = self.order.back;
        let span = self.order.latest - self.order.earliest.unwrap_or_default();
        let is_much = back > 1_000_000_000 || back.saturating_mul(2) > span;
        (back > 0 && is_much && matches!(self.naming.order, Order::Usual)).then_some((line, back))
    }

    /// Whether ops have indices that say something.
    pub(in super::super) fn has_indices(&self) -> bool {
        self.order.last_index.is_some() && !self.order.useless
    }
}

/// The time that an op tells.
pub(in super::super) fn told_time(fields: &Fields<'_>) -> Result<Option<u64>, String> {
    let Some(value) = fields.time.as_ref().filter(|time| **time != Value::Nil) else { return Ok(None) };
    let time = value.number().and_then(|time| u64::try_from(time).ok());
    let time = time.ok_or_else(|| {
        format!(
            "its :time is {}; it is a whole number of nanoseconds, 0 or more; --order file goes by the order of the file, and \
             reads such times only for leases",
            value.written()
        )
    })?;
    if time > LATEST {
        return Err(format!("its :time is {time}; it is in nanoseconds since the start, at most {LATEST}"));
    }
    Ok(Some(time))
}
