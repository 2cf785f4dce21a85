//! Makes the two halves of a windowed GROUP BY.

use std::sync::Arc;

use super::graph::StatefulOperator;
use super::key_groups::Place;
use crate::operators::aggregate::Aggregate;
use crate::operators::chain::Factory;
use crate::operators::preaggregate::Preaggregate;
use crate::operators::session::{MiniSessions, Sessions};
use crate::operators::window::Window;
use crate::operators::windows::WindowKind;
use crate::operators::{Operator, OperatorError};

/// Before the exchange.
pub(crate) struct Partial(pub(crate) Arc<Aggregate>);

/// After the exchange.
pub(crate) struct Final(pub(crate) Arc<Aggregate>);

impl Factory for Partial {
    fn build(&self, _place: Place) -> Result<Box<dyn Operator>, OperatorError> {
        Ok(match self.0.window {
            WindowKind::Session { .. } => Box::new(MiniSessions::new(self.0.clone())?),
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Attached { .. } => {
                Box::new(Preaggregate::new(self.0.clone()))
            }
        })
    }

    fn describe(&self) -> String {
        format!("{}: pre-aggregate", self.0.id)
    }
}

impl Factory for Final {
    fn build(&self, place: Place) -> Result<Box<dyn Operator>, OperatorError> {
        Ok(match self.0.window {
            WindowKind::Session { .. } => Box::new(Sessions::new(self.0.clone(), place)?),
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Attached { .. } => {
                Box::new(Window::new(self.0.clone(), place))
            }
        })
    }

    fn stateful(&self) -> Option<StatefulOperator> {
        Some(StatefulOperator { id: self.0.id.clone(), fingerprint: self.0.fingerprint() })
    }

    fn describe(&self) -> String {
        format!("{}: {}", self.0.id, self.0.describe())
    }
}
