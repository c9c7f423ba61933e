# Refits the comparison in R from the tables beside this file:  Rscript analysis.R
# Needs MASS (comes with R); glmmTMB and lme4 are used where they are installed.
animals <- read.csv("animals.csv", na.strings = "NA", check.names = FALSE)
exposures <- read.csv("exposures.csv", na.strings = "NA", check.names = FALSE)
rungs <- c("primordial", "primary", "secondary", "early_antral", "antral")
animals$knockout <- as.integer(animals$group == "knockout")
data <- merge(animals, exposures, by = c("model", "animal"), suffixes = c("", ".exposure"), sort = FALSE)

for (model in unique(data$model)) {
  own <- data[data$model == model, ]
  cat("\n==", model, "\n")
  cat("stage, log rate ratio, SE (negative binomial, MASS::glm.nb)\n")
  for (rung in rungs) {
    own$y <- own[[rung]]
    own$exposure <- own[[paste0(rung, ".exposure")]]
    if (anyNA(own$y) || any(tapply(own$y, own$knockout, sum) == 0)) next
    fit <- tryCatch(
      suppressWarnings(MASS::glm.nb(y ~ knockout + offset(log(exposure / mean(exposure))), data = own)),
      error = function(e) NULL
    )
    if (!is.null(fit)) {
      values <- summary(fit)$coefficients["knockout", 1:2]
      cat(sprintf("%s, %.6f, %.6f\n", rung, values[1], values[2]))
    }
    if (requireNamespace("glmmTMB", quietly = TRUE)) {
      tmb <- glmmTMB::glmmTMB(y ~ knockout + offset(log(exposure / mean(exposure))), family = glmmTMB::nbinom2, data = own)
      print(summary(tmb)$coefficients$cond["knockout", ])
    }
  }
  cat("step, log ratio of ratios, SE (quasi-binomial glm)\n")
  for (k in 1:4) {
    upper <- own[[rungs[k + 1]]]
    lower <- own[[rungs[k]]]
    if (anyNA(c(upper, lower)) || any(tapply(upper, own$knockout, sum) == 0) ||
        any(tapply(lower, own$knockout, sum) == 0)) next
    shift <- log(own[[paste0(rungs[k + 1], ".exposure")]] / own[[paste0(rungs[k], ".exposure")]])
    fit <- glm(cbind(upper, lower) ~ knockout + offset(shift), family = quasibinomial, data = own)
    values <- summary(fit)$coefficients["knockout", 1:2]
    cat(sprintf("%s to %s, %.6f, %.6f\n", rungs[k], rungs[k + 1], values[1], values[2]))
  }
}
