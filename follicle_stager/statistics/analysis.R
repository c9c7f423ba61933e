# Refits the comparison in R from the tables beside this file:  Rscript analysis.R
# The counts as they are: errors of stage, which the report carries into what nobody judged, are in none of it.
# Needs MASS (comes with R); glmmTMB, lme4 and VGAM are used where they are installed. One line for each model:
# package, what, log ratio of knockout to control, standard error.
file <- sub("--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
if (length(file)) setwd(dirname(file))
names <- c(model = "character", animal = "character")
animals <- read.csv("animals.csv", na.strings = "NA", check.names = FALSE, colClasses = names)
exposures <- read.csv("exposures.csv", na.strings = "NA", check.names = FALSE, colClasses = names)
rungs <- c("primordial", "primary", "secondary", "early_antral", "antral")
animals$knockout <- as.integer(animals$group == "knockout")
data <- merge(animals, exposures, by = c("model", "animal"), suffixes = c("", ".exposure"), sort = FALSE)
has <- function(package) requireNamespace(package, quietly = TRUE)

say <- function(package, what, fit) {
  table <- if (package == "glmmTMB") summary(fit)$coefficients$cond else summary(fit)$coefficients
  cat(sprintf("%s, %s, %.6f, %.6f\n", package, what, table["knockout", 1], table["knockout", 2]))
}
tried <- function(fit, package, what) {
  fit <- tryCatch(suppressMessages(suppressWarnings(fit)), error = function(e) NULL)
  if (!is.null(fit)) say(package, what, fit)
}

for (model in unique(data$model)) {
  own <- data[data$model == model, ]
  cat("\n==", model, "\n")
  empty <- function(y) anyNA(y) || any(tapply(y, own$knockout, sum) == 0)

  for (rung in rungs) { # each stage on its own
    own$y <- own[[rung]]
    own$e <- own[[paste0(rung, ".exposure")]] / mean(own[[paste0(rung, ".exposure")]])
    if (empty(own$y)) next
    tried(MASS::glm.nb(y ~ knockout + offset(log(e)), data = own), "MASS", rung)
    if (has("glmmTMB")) {
      tried(glmmTMB::glmmTMB(y ~ knockout + offset(log(e)), family = glmmTMB::nbinom2, data = own), "glmmTMB", rung)
    }
  }

  for (k in 1:4) { # each step of the ladder
    own$upper <- own[[rungs[k + 1]]]
    own$lower <- own[[rungs[k]]]
    if (empty(own$upper) || empty(own$lower)) next
    own$shift <- log(own[[paste0(rungs[k + 1], ".exposure")]] / own[[paste0(rungs[k], ".exposure")]])
    step <- paste(rungs[k], "to", rungs[k + 1])
    formula <- cbind(upper, lower) ~ knockout + offset(shift)
    tried(glm(formula, family = quasibinomial, data = own), "quasibinomial", step)
    # Animals differ by a random effect instead of a dispersion.
    if (has("lme4")) {
      tried(lme4::glmer(update(formula, . ~ . + (1 | animal)), family = binomial, data = own), "lme4", step)
    }
    # Continuation ratio: this stage against all beyond, a description.
    own$upper <- rowSums(own[, rungs[(k + 1):5], drop = FALSE])
    tried(glm(formula, family = binomial, data = own), "continuation", step)
  }
  if (has("VGAM") && !anyNA(own[, rungs])) { # all continuation ratios at once; no offsets
    some <- own[rowSums(own[, rungs]) > 0, ]
    fit <- tryCatch(
      VGAM::vglm(as.matrix(some[, rungs]) ~ knockout, VGAM::cratio(parallel = FALSE), data = some),
      error = function(e) NULL
    )
    values <- if (!is.null(fit)) VGAM::coef(VGAM::summary(fit))[paste0("knockout:", 1:4), ]
    for (k in seq_len(NROW(values))) {
      cat(sprintf("VGAM, %s to %s, %.6f, %.6f\n", rungs[k], rungs[k + 1], values[k, 1], values[k, 2]))
    }
  }
}
