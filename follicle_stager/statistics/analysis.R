# Repeats the tests and the verdict from the tables beside this file:  Rscript analysis.R
# Needs only R itself. docs/statistics.md explains the methods; names here are those of the tables.
file <- sub("--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
if (length(file)) setwd(dirname(file))

# The settings of the comparison; all other numbers come from the tables.
settings <- read.csv("settings.csv", na.strings = "NA")
rungs <- c("primordial", "primary", "secondary", "early_antral", "antral")
half <- 0.5
question_weight <- 6

read <- function(name) {
  read.csv(name, na.strings = "NA", check.names = FALSE, colClasses = c(comparison = "character", animal = "character"))
}

# Satterthwaite: estimate, standard error and degrees of freedom from variances with degrees of freedom each.
joined <- function(estimate, variances, dfs) {
  c(log_ratio = estimate, se = sqrt(sum(variances)), df = sum(variances)^2 / sum(variances^2 / dfs))
}
# The inverse of a matrix; if it has none, that of Moore and Penrose.
inverse_of <- function(x) {
  parts <- svd(x)
  kept <- parts$d > 1e-10 * parts$d[1]
  parts$v[, kept, drop = FALSE] %*% (t(parts$u[, kept, drop = FALSE]) / parts$d[kept])
}
unknown <- c(log_ratio = NA_real_, se = NA_real_, df = NA_real_)

# A design: the animals (or litters) of each group, the weights of the groups in the effect, litters and batches.
two_groups <- function(knockout, pair, batch) {
  list(groups = list(knockout, !knockout), weights = c(1, -1), pair = pair, batch = batch)
}
# Compare logarithms of animals. stages: list of counts y, exposures e, and sign of each stage.
by_animals <- function(stages, design) {
  groups <- design$groups
  values <- 0
  random <- 0 * groups[[1]]
  for (s in stages) {
    values <- values + s$sign * log(s$y / s$e * mean(s$e) + half)
    for (own in groups) {
      rate <- (sum(s$y[own]) + half) / sum(s$e[own])
      random[own] <- random[own] + 1 / (rate * s$e[own] + half)
    }
  }
  if (any(design$pair != "")) {
    # A paired t test: one difference for each litter.
    litters <- unique(design$pair)
    own <- sapply(groups, function(group) match(litters, replace(design$pair, !group, NA)))
    differences <- values[own[, 1]] - values[own[, 2]]
    chance <- mean(random[own[, 1]] + random[own[, 2]])
    more <- var(differences) > chance
    free <- length(litters) - 1
    return(joined(mean(differences), max(var(differences), chance) / length(litters), if (more) free else 60))
  }
  # A mean for each group, and an effect of each batch; each group has the variance of its residuals (Welch).
  x <- sapply(groups, as.numeric)
  for (batch in sort(unique(design$batch))[-1]) x <- cbind(x, design$batch == batch)
  inverse <- inverse_of(x)
  weighted <- c(design$weights, rep(0, ncol(x) - length(groups)))
  weights <- drop(weighted %*% inverse)
  # The groups cannot be told from the batches.
  if (max(abs(drop(weights %*% x) - weighted)) > 1e-8) return(unknown)
  residuals <- diag(nrow(x)) - x %*% inverse
  parts <- sapply(groups, function(own) {
    free <- sum(diag(residuals)[own])
    spread <- sum((residuals %*% values)[own]^2) / free
    chance <- mean(random[own])
    c(max(spread, chance) * sum(weights[own]^2), if (spread > chance) free else 60)
  })
  joined(sum(weights * values), parts[1, ], parts[2, ])
}
# Compare the sums of the groups, where follicles are few.
by_sums <- function(stages, design) {
  parts <- sapply(design$groups, function(own) {
    value <- 0
    random <- 0
    residuals <- 0
    for (s in stages) {
      total <- sum(s$y[own]) + half
      value <- value + s$sign * log(total / sum(s$e[own]))
      random <- random + 1 / total
      residuals <- residuals + s$sign * (s$y[own] - total / sum(s$e[own]) * s$e[own]) / total
    }
    leverage <- stages[[1]]$e[own] / sum(stages[[1]]$e[own])
    spread <- sum(residuals^2 / (1 - leverage))
    c(value, max(spread, random), if (spread > random) max(1 / sum(leverage^2) - 1, 1) else 60)
  })
  joined(sum(design$weights * parts[1, ]), design$weights^2 * parts[2, ], parts[3, ])
}
effect <- function(stages, design) {
  least <- min(sapply(stages, function(s) sapply(design$groups, function(own) mean(s$y[own]))))
  if (least < 3) by_sums(stages, design) else by_animals(stages, design)
}

# All effects of one set of counts: a matrix with a row for each effect.
effects <- function(y, e, design, contrast) {
  # Several stages are added up; the exposure is their mean, weighted by how frequent follicles of each are.
  stage <- function(cols, sign = 1) {
    rates <- (colSums(y[, cols, drop = FALSE]) + half) / colSums(e[, cols, drop = FALSE])
    list(y = rowSums(y[, cols, drop = FALSE]), e = drop(e[, cols, drop = FALSE] %*% (rates / sum(rates))), sign = sign)
  }
  seen <- !apply(is.na(y), 2, any)
  present <- seen & colSums(y, na.rm = TRUE) > 0
  after <- function(k) {
    cols <- which(seen & seq_along(rungs) > k)
    if (length(cols)) cols else length(rungs)
  }
  known <- function(when, stages) if (isTRUE(when)) effect(stages, design) else unknown
  # A stage against later ones: both sides have follicles, and each group has some on one of the two.
  against <- function(k, cols) {
    own <- c(k, cols)
    each <- all(sapply(design$groups, function(group) sum(y[group, own]) > 0))
    known(present[k] && any(present[cols]) && each, list(stage(cols), stage(k, -1)))
  }
  rows <- c(
    lapply(1:5, function(k) known(present[k], list(stage(k)))),
    lapply(1:4, function(k) against(k, after(k)[1])),
    lapply(1:4, function(k) known(any(present[after(k)]), list(stage(after(k))))),
    list(against(contrast, after(contrast)))
  )
  table <- do.call(rbind, rows)
  rownames(table) <- c(rungs, paste("step", 1:4), paste("later", 1:4), "shift")
  table
}

# Rubin's rules, with the degrees of freedom of Barnard and Rubin (1999).
pooled <- function(plain, draws) {
  if (!length(draws)) return(plain)
  for (i in seq_len(nrow(plain))) {
    own <- t(sapply(draws, function(d) d[i, ]))
    own <- own[!is.na(own[, 1]), , drop = FALSE]
    m <- nrow(own)
    if (is.na(plain[i, 1]) || m < 2) next
    within <- max(mean(own[, "se"]^2), plain[i, "se"]^2)
    between <- var(own[, "log_ratio"])
    total <- within + (1 + 1 / m) * between
    missing <- (1 + 1 / m) * between / total
    complete <- mean(own[, "df"])
    observed <- (complete + 1) / (complete + 3) * complete * (1 - missing)
    plain[i, ] <- c(mean(own[, "log_ratio"]), sqrt(total), 1 / (missing^2 / (m - 1) + 1 / observed))
  }
  plain
}

holm <- function(p, weights) {
  out <- rep(NA_real_, length(p))
  order_ <- order(p / weights)
  order_ <- order_[!is.na(p[order_])]
  highest <- 0
  for (i in seq_along(order_)) {
    left <- sum(weights[order_[i:length(order_)]])
    highest <- max(highest, min(1, p[order_[i]] * left / weights[order_[i]]))
    out[order_[i]] <- highest
  }
  out
}
all_lower <- function(values, together) {
  !is.na(together) && together < 0 && max(values, na.rm = TRUE) <= 0.5 * together
}

animals <- read("animals.csv")
exposures <- read("exposures.csv")
imputations <- read("imputations.csv")
contrast <- match(settings$contrast, rungs)
alpha <- settings$alpha
text <- function(column) ifelse(is.na(column), "", as.character(column))

# The units of a comparison: counts and offsets of littermates are added up.
units_of <- function(name) {
  own <- animals[animals$comparison == name, ]
  by_unit <- function(table) rowsum(as.matrix(table[match(own$animal, table$animal), rungs]), own$unit, reorder = FALSE)
  first <- own[!duplicated(own$unit), ]
  drawn <- imputations[imputations$comparison == name, ]
  list(
    y = by_unit(own), e = by_unit(exposures[exposures$comparison == name, ]),
    draws = lapply(split(drawn, drawn$draw), by_unit),
    group = first$group, pair = text(first$pair), batch = text(first$batch)
  )
}
all_effects <- function(units, design) {
  pooled(effects(units$y, units$e, design, contrast), lapply(units$draws, effects, units$e, design, contrast))
}
show <- function(table) {
  reach <- qt(0.975, table[, "df"]) * table[, "se"]
  upper <- table[, "log_ratio"] + qt(0.95, table[, "df"]) * table[, "se"]
  p_lower <- pt(table[, "log_ratio"] / table[, "se"], table[, "df"])
  logs <- cbind(table[, "log_ratio"], table[, "log_ratio"] - reach, table[, "log_ratio"] + reach, upper)
  values <- cbind(exp(logs), p_lower)
  for (i in seq_len(nrow(table))) cat(rownames(table)[i], sprintf("%.7g", values[i, ]), sep = ", ", fill = 200)
}

for (name in unique(animals$comparison)) {
  units <- units_of(name)
  knockout <- units$group == "knockout"
  design <- two_groups(knockout, units$pair, units$batch)
  cat("\n==", name, "\n")
  if (min(sum(knockout), sum(!knockout)) < 2) {
    cat("verdict, not estimable\n")
    next
  }
  table <- all_effects(units, design)
  p_lower <- pt(table[, "log_ratio"] / table[, "se"], table[, "df"])
  p_upper <- pt(table[, "log_ratio"] / table[, "se"], table[, "df"], lower.tail = FALSE)
  reach <- function(level) qt(level, table[, "df"]) * table[, "se"]
  upper <- table[, "log_ratio"] + reach(0.95)
  steps <- 6:9
  later <- 10:13
  # At the stage of the question, the claim is the arrest; at the others, it is a block after the stage.
  p_less <- replace(p_lower[steps], contrast, p_lower[["shift"]])
  p_holm <- holm(pmax(p_less, p_lower[later]), replace(rep(1, 4), contrast, question_weight))
  rate <- table[1:5, "log_ratio"]
  lower <- sapply(1:4, function(k) all_lower(rate[(k + 1):5], table[later[k], "log_ratio"]))
  yes <- function(x) !is.na(x) & x
  blocks <- yes(p_holm <= alpha) & lower
  arrest <- blocks[contrast]
  slower <- yes(holm(p_lower[steps], rep(1, 4)) <= alpha)
  slower[contrast] <- slower[contrast] || yes(p_lower[["shift"]] <= alpha)
  faster <- yes(holm(p_upper[steps], rep(1, 4)) <= alpha)
  reserve <- !is.na(rate[1])
  fewer_primordial <- yes(p_lower[1] <= alpha)
  fewer <- yes(p_lower[later[1]] <= alpha) && (!reserve || fewer_primordial)
  limit <- log(settings$total_loss_ratio)
  lost <- yes(upper[1] < limit) && yes(upper[later[1]] < limit)
  bound <- log(settings$equivalence_ratio)
  known <- !is.na(table[steps, "log_ratio"])
  inside <- yes(table[steps, "log_ratio"] - reach(0.95)[steps] > -bound & upper[steps] < bound)
  shifted <- !is.na(table["shift", "log_ratio"])
  kind <- if (lost) {
    "total loss"
  } else if (arrest) {
    "arrest"
  } else if (any(blocks)) {
    "block"
  } else if (!any(known) && !shifted && !fewer) {
    "not estimable"
  } else if (faster[1] && fewer_primordial && yes(p_upper[later[1]] <= alpha)) {
    "acceleration"
  } else if (faster[1] && fewer_primordial) {
    "loss of the reserve"
  } else if (any(slower & yes(p_upper[1:4] <= alpha))) {
    "accumulation"
  } else if (any(faster)) {
    "acceleration"
  } else if (fewer && all(is.na(rate) | rate < 0) && !any(slower)) {
    "depletion"
  } else if (all(is.na(rate[1:4]) | inside) && shifted && !any(yes(p_lower[later] <= alpha))) {
    "none"
  } else {
    "inconclusive"
  }
  if (!kind %in% c("arrest", "block")) blocks[] <- FALSE
  show(table)
  cat(sprintf("p_holm, %s, %.7g\n", rungs[1:4], p_holm), sep = "")
  cat("blocks_after,", rungs[1:4][blocks], "\n")
  cat("verdict,", kind, "\n")
}

# Between treatments, ages, or steps of gene dose: sums of the means of several groups, with the weights of the table.
if (file.exists("response_weights.csv")) {
  cells <- read("response_weights.csv")
  for (name in unique(cells$response)) {
    of_response <- cells[cells$response == name, ]
    parts <- lapply(seq_len(nrow(of_response)), function(i) {
      units <- units_of(of_response$comparison[i])
      own <- units$group == of_response$group[i]
      take <- function(values) values[own, , drop = FALSE]
      list(y = take(units$y), e = take(units$e), draws = lapply(units$draws, take), batch = units$batch[own])
    })
    batches <- all(sapply(parts, function(part) all(part$batch != "")))
    draws <- max(sapply(parts, function(part) length(part$draws)))
    for (effect_name in unique(of_response$effect)) {
      rows <- which(of_response$effect == effect_name)
      own <- parts[rows]
      stacked <- function(each) do.call(rbind, lapply(own, each))
      units <- list(
        y = stacked(function(part) part$y), e = stacked(function(part) part$e),
        draws = lapply(seq_len(draws), function(d) {
          stacked(function(part) if (length(part$draws)) part$draws[[d]] else part$y)
        })
      )
      cell <- rep(seq_along(own), sapply(own, function(part) nrow(part$y)))
      design <- list(
        groups = lapply(seq_along(own), function(i) cell == i), weights = of_response$weight[rows], pair = "",
        batch = if (batches) unlist(lapply(own, function(part) part$batch)) else rep("", length(cell))
      )
      cat("\n==", name, ":", effect_name, "\n")
      show(all_effects(units, design)[c(paste("step", 1:4), "shift", paste("later", contrast)), ])
    }
  }
}
